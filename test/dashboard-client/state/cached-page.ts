// The script of a page in browser-cache.test.ts. Opened as `?server=ws://…`.

import { createClient } from "../../../dashboard-client/client/client.ts";
import { createDashboardStore, type DashboardStore } from "../../../dashboard-client/state/dashboard-store.ts";

export interface CachedPage {
  store: DashboardStore;
  /** When the state was first loaded, milliseconds since the start of the page's load. */
  loadedAfterMs: number | undefined;
}

const url = new URLSearchParams(location.search).get("server") ?? "";
const client = createClient({ url, getToken: () => "token", onProblem: () => {} });
const store = createDashboardStore({ client, channel: "dashboard", saveIntervalMs: 100 });
const cached: CachedPage = { store, loadedAfterMs: undefined };
store.subscribe(() => {
  if (store.getSnapshot().loaded) cached.loadedAfterMs ??= performance.now();
});
Object.assign(globalThis, { cached });

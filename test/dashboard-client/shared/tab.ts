// The script of a tab in shared-client.test.ts. Opened as `?tab=a&server=ws://…`.

import type { ConnectionState } from "../../../dashboard-client/client/connection-state.ts";
import type { SubscriptionState } from "../../../dashboard-client/client/subscription.ts";
import { createSharedClient, type SharedClient } from "../../../dashboard-client/shared/index.ts";

export interface Tab {
  client: SharedClient;
  /** The positions of the events that are not part of a snapshot. */
  positions: number[];
  snapshots: number;
  gaps: number;
  restarts: number;
  connection: () => ConnectionState["status"];
  subscription: () => SubscriptionState["status"];
}

const query = new URLSearchParams(location.search);
const since = query.get("since");
const tab = {
  positions: [] as number[],
  snapshots: 0,
  gaps: 0,
  restarts: 0,
};
const client = createSharedClient({
  url: query.get("server") ?? "",
  getToken: () => query.get("tab") ?? "",
  backoff: { minDelayMs: 5, maxDelayMs: 50 },
  onRestart: () => {
    tab.restarts++;
  },
});
const subscription = client.subscribe(
  "dashboard",
  {
    onEvent: ({ position, snapshot }) => {
      if (snapshot !== true) tab.positions.push(position);
    },
    onSnapshot: (moment) => {
      if (moment === "completed") tab.snapshots++;
    },
    onGap: () => {
      tab.gaps++;
    },
  },
  { since: since === null ? undefined : { epoch: "first", position: Number(since) } },
);
client.connect();
const shared: Tab = Object.assign(tab, {
  client,
  connection: () => client.state.status,
  subscription: () => subscription.state.status,
});
Object.assign(globalThis, { shared });

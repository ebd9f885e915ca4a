import { createSharedClient } from "../shared/shared-client.ts";
import { browserStorage } from "../state/dashboard-store.ts";
import { Access } from "./access.ts";
import { ApiClient } from "./api/api-client.ts";
import { FilmLinks } from "./film-links.ts";
import { deleteKeptData } from "./offline/kept-data.ts";
import { Pictures } from "./pictures.ts";
import { takeSignInOutcome } from "./provider-sign-in.ts";
import { noteServerTime } from "./server-time.ts";
import type { Services } from "./services.tsx";

// The first script: it connects while the browser still loads the other one, which is six times as large.

// All addresses are relative to this page, which may be below a path of a proxy.
const base = new URL(".", location.href).href;
const socketUrl = new URL("ws", base);
socketUrl.protocol = socketUrl.protocol === "https:" ? "wss:" : "ws:";

async function fetchWithClock(...request: Parameters<typeof fetch>): Promise<Response> {
  const sentAt = Date.now();
  const answer = await fetch(...request);
  noteServerTime(answer.headers.get("date"), sentAt);
  return answer;
}

const access = new Access({ base, fetch: fetchWithClock, storage: browserStorage() ?? undefined });
const client = createSharedClient({
  url: socketUrl.href,
  getToken: () => access.fresh(),
  onRestart: () => void restartTab(),
});
// The client may have stopped in another tab, which waits for a sign-in too.
if (takeSignInOutcome() === "done") void access.takeProvidedLogin().then(() => client.connect());
else client.connect();

const services: Services = {
  ...{ base, access, client },
  api: new ApiClient(base, access),
  pictures: new Pictures(base, access),
  films: new FilmLinks(base, access),
};

/** The user has changed: nothing of the user before may remain, in any tab. */
function restart(): void {
  client.restartTabs();
  void restartTab();
}

async function restartTab(): Promise<void> {
  client.close();
  await deleteKeptData();
  location.reload();
}

void import("./main.tsx").then(({ showPage }) => showPage(services, restart));

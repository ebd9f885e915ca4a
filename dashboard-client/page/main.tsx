import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { RealTimeProvider } from "../react/real-time-provider.tsx";
import { createSharedClient } from "../shared/shared-client.ts";
import { browserStorage } from "../state/dashboard-store.ts";
import { Access } from "./access.ts";
import { ApiClient } from "./api/api-client.ts";
import { App } from "./app.tsx";
import { ErrorBoundary } from "./components/error-boundary.tsx";
import { FilmLinks } from "./film-links.ts";
import { deleteKeptData } from "./offline/kept-data.ts";
import { keepPageInstalled } from "./offline/updates.ts";
import { Pictures } from "./pictures.ts";
import { applyTheme } from "./preferences.ts";
import { takeSignInOutcome } from "./provider-sign-in.ts";
import { reloadOnce } from "./reload-once.ts";
import { noteServerTime } from "./server-time.ts";
import { ServicesProvider } from "./services.tsx";

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
const services = {
  ...{ base, access, client },
  api: new ApiClient(base, access),
  pictures: new Pictures(base, access),
  films: new FilmLinks(base, access),
};

// After the page has got its data: on a slow link, the files of other places would delay the data.
client.onState(({ status }) => {
  if (status === "connected") void keepPageInstalled();
});

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

const element = document.getElementById("page");
if (element === null) throw new Error("index.html has no element with the id page");
applyTheme();
createRoot(element).render(
  <StrictMode>
    <RealTimeProvider client={client}>
      <ServicesProvider services={services}>
        <ErrorBoundary part="Skylapse" onError={reloadOnce}>
          <App onRestart={restart} />
        </ErrorBoundary>
      </ServicesProvider>
    </RealTimeProvider>
  </StrictMode>,
);

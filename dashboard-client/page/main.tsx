import "./no-eval.ts";

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { createClient } from "../client/client.ts";
import { RealTimeProvider } from "../react/real-time-provider.tsx";
import { browserStorage } from "../state/dashboard-store.ts";
import { Access } from "./access.ts";
import { App } from "./app.tsx";
import { ErrorBoundary } from "./components/error-boundary.tsx";
import { FilmLinks } from "./film-links.ts";
import { Pictures } from "./pictures.ts";
import { reloadOnce } from "./reload-once.ts";

// All addresses are relative to this page, which may be below a path of a proxy.
const base = new URL(".", location.href).href;
const socketUrl = new URL("ws", base);
socketUrl.protocol = socketUrl.protocol === "https:" ? "wss:" : "ws:";

const access = new Access({ base, fetch: fetch.bind(window), storage: browserStorage() ?? undefined });
const client = createClient({ url: socketUrl.href, getToken: () => access.fresh() });
const pictures = new Pictures(base, access);
const films = new FilmLinks(base, access);

function restart(): void {
  client.close();
  location.reload();
}

const element = document.getElementById("page");
if (element === null) throw new Error("index.html has no element with the id page");
createRoot(element).render(
  <StrictMode>
    <RealTimeProvider client={client}>
      <ErrorBoundary part="Skylapse" onError={reloadOnce}>
        <App base={base} access={access} pictures={pictures} films={films} onRestart={restart} />
      </ErrorBoundary>
    </RealTimeProvider>
  </StrictMode>,
);

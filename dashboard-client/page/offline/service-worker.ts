// The service worker: keeps the files of the page, so that the page opens without a connection. It handles no other request.
//
// The files of one build are installed together, and a new build waits until the user accepts it or closes all tabs. So a page
// always gets the files of one build.

import { cleanupOutdatedCaches, precacheAndRoute } from "workbox-precaching";
import { ACTIVATE } from "./service-worker-message.ts";

/** A file of the build. `revision`: null if the name contains a hash of the content. */
interface ShellFile {
  url: string;
  revision: string | null;
}

/** Written by service-worker-plugin.ts. */
declare const SHELL_FILES: ShellFile[];

/** The part of `ServiceWorkerGlobalScope` that is used here. TypeScript cannot load its types beside those of a page. */
interface WorkerScope {
  addEventListener(type: "install", listener: (event: InstallEvent) => void): void;
  addEventListener(type: "message", listener: (event: MessageEvent<unknown>) => void): void;
  skipWaiting(): Promise<void>;
}

interface InstallEvent {
  /** Only some browsers have it, such as Chromium since version 123. */
  addRoutes?(rule: { condition: { requestDestination: string }; source: "network" }): Promise<void>;
}

const scope = globalThis as unknown as WorkerScope;

precacheAndRoute(SHELL_FILES);
cleanupOutdatedCaches();
// Scripts of the page ask for data, never for a file of the build, so their requests go past the worker. Otherwise an accepted
// build could wait for 5 minutes: Chromium stops the old worker once it is idle, starts it again for a request that arrives while
// it stops, and then waits until the worker gets no request for 30 s.
scope.addEventListener("install", (event) => {
  void event.addRoutes?.({ condition: { requestDestination: "" }, source: "network" });
});
scope.addEventListener("message", ({ data }) => {
  if (data === ACTIVATE) void scope.skipWaiting();
});

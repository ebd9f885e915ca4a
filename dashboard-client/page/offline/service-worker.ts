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
  addEventListener(type: "message", listener: (event: MessageEvent<unknown>) => void): void;
  skipWaiting(): Promise<void>;
}

const scope = globalThis as unknown as WorkerScope;

precacheAndRoute(SHELL_FILES);
cleanupOutdatedCaches();
scope.addEventListener("message", ({ data }) => {
  if (data === ACTIVATE) void scope.skipWaiting();
});

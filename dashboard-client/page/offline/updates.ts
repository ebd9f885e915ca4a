import { ACTIVATE } from "./service-worker-message.ts";

let waiting: ServiceWorker | undefined;
let registered: Promise<ServiceWorkerRegistration | undefined> | undefined;
const listeners = new Set<() => void>();

/**
 * Installs the service worker, and looks for a new build of the page. Call it whenever the server was reached: a server
 * that was upgraded has restarted. Browsers have service workers only with https, and on localhost.
 */
export async function keepPageInstalled(): Promise<void> {
  if (!("serviceWorker" in navigator)) return;
  if (registered === undefined) {
    registered = navigator.serviceWorker.register("./sw.js").then(watched, () => undefined);
    await registered;
  } else await (await registered)?.update().catch(() => {});
}

/** For `useSyncExternalStore`. */
export function watchUpdates(listener: () => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** Whether a new build of the page waits. */
export function hasUpdate(): boolean {
  return waiting !== undefined;
}

/** Loads the new build, in all tabs: the files of the old one are deleted. */
export function acceptUpdate(): void {
  waiting?.postMessage(ACTIVATE);
}

function watched(registration: ServiceWorkerRegistration): ServiceWorkerRegistration {
  const { serviceWorker } = navigator;
  if (serviceWorker.controller !== null) serviceWorker.addEventListener("controllerchange", () => location.reload());
  const note = (): void => {
    // The first service worker does not wait, and is not an update.
    waiting = serviceWorker.controller === null ? undefined : (registration.waiting ?? undefined);
    for (const listener of listeners) listener();
  };
  const watch = (): void => registration.installing?.addEventListener("statechange", note);
  registration.addEventListener("updatefound", watch);
  watch();
  note();
  return registration;
}

/** The parts of a browser that tell when to look again. Undefined where there is no browser. */
export interface PageSignals {
  window: Pick<EventTarget, "addEventListener" | "removeEventListener">;
  document: Pick<EventTarget, "addEventListener" | "removeEventListener"> & { readonly visibilityState: string };
}

export function browserSignals(): PageSignals | undefined {
  return typeof window === "undefined" || typeof document === "undefined" ? undefined : { window, document };
}

export interface SignalHandlers {
  /** The network is back, or the page is looked at again: there is no reason to wait any longer. */
  onAwake?: () => void;
  /** The browser says that the network is gone. It is often wrong about links to this machine: look, do not believe. */
  onOffline?: () => void;
  /** The page goes away, perhaps for good: the last moment to save anything. */
  onHide?: () => void;
}

/** @returns stops watching */
export function watchPage(signals: PageSignals | undefined, handlers: SignalHandlers): () => void {
  if (signals === undefined) return () => {};
  const { window, document } = signals;
  const awake = (): void => handlers.onAwake?.();
  const offline = (): void => handlers.onOffline?.();
  const hide = (): void => handlers.onHide?.();
  const visibility = (): void => {
    if (document.visibilityState === "visible") awake();
    // On phones a hidden page may be killed without `pagehide`.
    else hide();
  };
  window.addEventListener("online", awake);
  window.addEventListener("pageshow", awake);
  window.addEventListener("offline", offline);
  window.addEventListener("pagehide", hide);
  document.addEventListener("visibilitychange", visibility);
  return () => {
    window.removeEventListener("online", awake);
    window.removeEventListener("pageshow", awake);
    window.removeEventListener("offline", offline);
    window.removeEventListener("pagehide", hide);
    document.removeEventListener("visibilitychange", visibility);
  };
}

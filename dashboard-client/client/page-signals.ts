/** The parts of a browser that report when the network returns and when the page is shown or hidden. */
export interface PageSignals {
  window: Pick<EventTarget, "addEventListener" | "removeEventListener">;
  document: Pick<EventTarget, "addEventListener" | "removeEventListener"> & { readonly visibilityState: string };
}

/** @returns undefined outside a browser */
export function browserSignals(): PageSignals | undefined {
  return typeof window === "undefined" || typeof document === "undefined" ? undefined : { window, document };
}

export interface SignalHandlers {
  /** The network has returned, or the page is shown again: there is no reason to wait any longer. */
  onAwake?: () => void;
  /** The browser reports that the network is lost. It is often wrong about local connections: verify the connection. */
  onOffline?: () => void;
  /** The page is hidden, perhaps for good. This is the last moment to save anything. */
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
    // Phones may end a hidden page without a `pagehide`.
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

export interface PageSignals {
  window: Pick<EventTarget, "addEventListener" | "removeEventListener">;
  document: Pick<EventTarget, "addEventListener" | "removeEventListener"> & { readonly visibilityState: string };
}

/** Undefined outside a browser. */
export function browserSignals(): PageSignals | undefined {
  return typeof window === "undefined" || typeof document === "undefined" ? undefined : { window, document };
}

interface SignalHandlers {
  /** The network has returned, or the page is shown again. */
  onAwake?: () => void;
  /** The browser reports that the network is lost, which is often wrong for local connections. */
  onOffline?: () => void;
  /** The page is hidden, perhaps for good: the last moment to save anything. */
  onHide?: () => void;
}

/** @returns stops watching */
export function watchPage(signals: PageSignals | undefined, handlers: SignalHandlers): () => void {
  if (signals === undefined) return () => {};
  const awake = (): void => handlers.onAwake?.();
  const offline = (): void => handlers.onOffline?.();
  const hide = (): void => handlers.onHide?.();
  // Phones may end a hidden page without a `pagehide`.
  const visibility = (): void => (signals.document.visibilityState === "visible" ? awake() : hide());
  const listeners = { online: awake, pageshow: awake, offline, pagehide: hide };
  for (const [type, listener] of Object.entries(listeners)) signals.window.addEventListener(type, listener);
  signals.document.addEventListener("visibilitychange", visibility);
  return () => {
    for (const [type, listener] of Object.entries(listeners)) signals.window.removeEventListener(type, listener);
    signals.document.removeEventListener("visibilitychange", visibility);
  };
}

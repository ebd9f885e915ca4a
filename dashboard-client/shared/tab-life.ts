interface TabHandlers {
  /** The tab is closed or navigates away. The browser may keep it to return to it. */
  onLeave: () => void;
  /** The browser returns to the tab, which has missed messages. */
  onReturn: () => void;
}

/** @returns stops watching */
export function watchTab({ onLeave, onReturn }: TabHandlers): () => void {
  const returned = ({ persisted }: PageTransitionEvent): void => {
    if (persisted) onReturn();
  };
  addEventListener("pagehide", onLeave);
  addEventListener("pageshow", returned);
  return () => {
    removeEventListener("pagehide", onLeave);
    removeEventListener("pageshow", returned);
  };
}

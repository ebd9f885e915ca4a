import { useEffect, useRef } from "react";
import { navigate } from "../hash-location.ts";
import type { Place } from "../places.tsx";

/** After `g`, the next key must follow within this time, milliseconds. */
const SEQUENCE_MS = 1500;

/**
 * Keyboard shortcuts: `g` and the key of a place, `/` for the search field, `?` for the list of shortcuts. Keys in a text
 * field, and keys with Ctrl, Alt or Meta, are left to the browser.
 */
export function useShortcuts(places: readonly Place[], onHelp: () => void): void {
  const began = useRef(0);
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isTyping(event.target)) return;
      const isSecond = Date.now() - began.current < SEQUENCE_MS;
      began.current = event.key === "g" ? Date.now() : 0;
      const place = isSecond ? places.find(({ key }) => key === event.key) : undefined;
      if (place !== undefined) navigate(place.path.replace("/*?", ""));
      else if (event.key === "?") onHelp();
      else if (event.key === "/" && focusSearch()) event.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [places, onHelp]);
}

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName))
  );
}

/** Every place marks its search field with `type="search"`. */
function focusSearch(): boolean {
  const field = document.querySelector<HTMLInputElement>('#content input[type="search"]');
  field?.focus();
  return field !== null;
}

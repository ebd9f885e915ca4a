import { useSyncExternalStore } from "react";
import { Listeners } from "../client/listeners.ts";
import { reportOnConsole } from "../client/problems.ts";
import { browserStorage } from "../state/dashboard-store.ts";
import { LANGUAGES, type Language } from "./text/i18n.ts";

const NAME = "skylapse:preferences";

const CHOICES = {
  /** `auto`: as the browser prefers. */
  language: ["auto", ...(Object.keys(LANGUAGES) as Language[])],
  /** `auto`: as the system prefers. */
  theme: ["auto", "light", "dark"],
  /** The time zone of all lists: that of the person who looks, that of each camera, or UTC. */
  clock: ["viewer", "camera", "utc"],
} as const;
export const PREFERENCE_CHOICES = CHOICES;

/** What a person chose for this browser. */
export type Preferences = { [Name in keyof typeof CHOICES]: (typeof CHOICES)[Name][number] };

const DEFAULTS: Preferences = { language: "auto", theme: "auto", clock: "viewer" };
const listeners = new Listeners<void>(reportOnConsole);
let preferences = load();

export function currentPreferences(): Preferences {
  return preferences;
}

export function setPreference<Name extends keyof Preferences>(name: Name, value: Preferences[Name]): void {
  preferences = { ...preferences, [name]: value };
  try {
    browserStorage()?.setItem(NAME, JSON.stringify(preferences));
  } catch {
    // The choice is valid until a reload, because the storage is full or forbidden.
  }
  listeners.call();
}

export function usePreferences(): Preferences {
  return useSyncExternalStore((listener) => listeners.add(listener), currentPreferences, currentPreferences);
}

/** Ignores values that this version does not know. */
function load(): Preferences {
  let stored: unknown;
  try {
    stored = JSON.parse(browserStorage()?.getItem(NAME) ?? "{}");
  } catch {
    return DEFAULTS;
  }
  const known = Object.entries(Object(stored)).filter(([name, value]) =>
    (CHOICES as Record<string, readonly unknown[]>)[name]?.includes(value),
  );
  return { ...DEFAULTS, ...Object.fromEntries(known) };
}

/** Follows the preference, and the system's colour scheme for `auto`. */
export function applyTheme(): void {
  const apply = (): void => {
    const { theme } = preferences;
    const light = theme === "light" || (theme === "auto" && matchMedia("(prefers-color-scheme: light)").matches);
    document.documentElement.dataset.theme = light ? "light" : "dark";
  };
  apply();
  listeners.add(apply);
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", apply);
}

/**
 * The time zone of a list, by the user's choice. Undefined: that of the browser.
 * @param cameraZone the time zone of the camera that the row is about, an IANA name
 */
export function zoneFor(cameraZone: string | undefined): string | undefined {
  return { viewer: undefined, camera: cameraZone, utc: "UTC" }[preferences.clock];
}

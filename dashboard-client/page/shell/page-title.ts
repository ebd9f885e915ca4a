import { useEffect, useSyncExternalStore } from "react";
import { Listeners } from "../../client/listeners.ts";
import { reportOnConsole } from "../../client/problems.ts";
import { t } from "../text/i18n.ts";

let place = "";
const listeners = new Listeners<void>(reportOnConsole);
const current = (): string => place;

/** Names the shown place in the title of the window. @param title such as the name of a camera; empty: only "Skylapse" */
export function usePlaceTitle(title: string): void {
  useEffect(() => {
    place = title;
    listeners.call();
  }, [title]);
}

/** Writes the title of the window, which begins with what is wrong: `2 offline · Alerts · Skylapse`. */
export function useWindowTitle(offline: number): void {
  const title = useSyncExternalStore((listener) => listeners.add(listener), current, current);
  useEffect(() => {
    const wrong = offline > 0 ? t("shell.offline", { count: offline }) : "";
    document.title = [wrong, title, "Skylapse"].filter((part) => part !== "").join(" · ");
  }, [offline, title]);
}

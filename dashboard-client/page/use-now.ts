import { useSyncExternalStore } from "react";
import { Listeners } from "../client/listeners.ts";
import { reportOnConsole } from "../client/problems.ts";

const TICK_MS = 1000;

let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;
const listeners = new Listeners<void>(reportOnConsole);
const current = (): number => now;

function subscribe(listener: () => void): () => void {
  const remove = listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    listeners.call();
  }, TICK_MS);
  return () => {
    remove();
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

/** The current time, updated every second by one timer for the whole page. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, current, current);
}

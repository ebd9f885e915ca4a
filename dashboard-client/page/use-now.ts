import { useSyncExternalStore } from "react";
import { Listeners } from "../client/listeners.ts";
import { reportOnConsole } from "../client/problems.ts";
import { serverNow } from "./server-time.ts";

const TICK_MS = 1000;

let now = serverNow();
let timer: ReturnType<typeof setInterval> | undefined;
const listeners = new Listeners<void>(reportOnConsole);
/** Without the timer, a component that is shown for the first time must not get the time of the last one. */
function current(): number {
  if (timer === undefined && Math.abs(serverNow() - now) >= TICK_MS) now = serverNow();
  return now;
}

function subscribe(listener: () => void): () => void {
  const remove = listeners.add(listener);
  timer ??= setInterval(() => {
    now = serverNow();
    listeners.call();
  }, TICK_MS);
  return () => {
    remove();
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

/** The current time by the server's clock, updated every second by one timer for the whole page. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, current, current);
}

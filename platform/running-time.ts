const STEP_MS = 50;
/** A timer that is later than this was held up: the process or its event loop stood still, milliseconds. */
const PAUSE_MS = 1_000;

/**
 * Calls `act` after this process has run for the given time. Time in which the process was suspended is not counted:
 * data may have arrived meanwhile, and Node.js runs due timers before it reads such data.
 * @returns a function that cancels the call
 */
export function afterRunning(milliseconds: number, act: () => void): () => void {
  let left = milliseconds;
  const step = (): void => {
    left -= STEP_MS;
    if (left > 0) return;
    clearInterval(steps);
    act();
  };
  const steps = setInterval(step, Math.min(STEP_MS, milliseconds));
  return () => clearInterval(steps);
}

/**
 * Calls `act` at an interval, and tells it for how long this process stood still since the last call, milliseconds. This
 * is 0 unless it was more than a second. What arrived during the pause is read only after the call.
 * @returns a function that ends the calls
 */
export function everyRunning(intervalMs: number, act: (pausedMs: number) => void): () => void {
  let last = performance.now();
  const timer = setInterval(() => {
    const lateMs = performance.now() - last - intervalMs;
    last = performance.now();
    act(lateMs > PAUSE_MS ? lateMs : 0);
  }, intervalMs).unref();
  return () => clearInterval(timer);
}

/**
 * Calls `act` after a time. If the process stood still at that time, it first runs for `marginMs`, so that it has read
 * what arrived meanwhile.
 * @returns a function that cancels the call
 */
export function afterTime(milliseconds: number, marginMs: number, act: () => void): () => void {
  const dueAt = performance.now() + milliseconds;
  let timer = setTimeout(() => {
    if (performance.now() - dueAt <= PAUSE_MS) act();
    else timer = setTimeout(act, marginMs);
  }, milliseconds);
  return () => clearTimeout(timer);
}

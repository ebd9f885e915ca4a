const TICK_MS = 10;

/**
 * Starts a clock that stops while this process is stopped, so that a pause of a busy machine does not count as slowness
 * of the measured code.
 * @returns milliseconds since the start of the clock
 */
export function startRunningClock(): () => number {
  let ran = 0;
  let at = performance.now();
  const look = (): void => {
    const now = performance.now();
    ran += Math.min(now - at, 2 * TICK_MS);
    at = now;
  };
  setInterval(look, TICK_MS).unref();
  return () => {
    look();
    return ran;
  };
}

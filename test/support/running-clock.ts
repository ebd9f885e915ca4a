const TICK_MS = 10;

/**
 * Starts a clock that does not run while this process stands still, so that a pause of a busy machine is not taken for
 * slowness of what is measured.
 * @returns milliseconds since it was started
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

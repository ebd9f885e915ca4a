const STEP_MS = 50;

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

const STEP_MS = 50;

/**
 * Calls `act` after this process has run for the given time. Time in which the process was stopped (a busy machine, a
 * suspended one) is not included: data from other machines may have arrived meanwhile, and Node.js runs due timers
 * before it reads such data.
 * @returns cancels the call
 */
export function afterRunning(milliseconds: number, act: () => void): () => void {
  let left = milliseconds;
  const steps = setInterval(
    () => {
      left -= STEP_MS;
      if (left > 0) return;
      clearInterval(steps);
      act();
    },
    Math.min(STEP_MS, milliseconds),
  );
  return () => clearInterval(steps);
}

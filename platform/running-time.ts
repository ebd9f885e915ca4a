const STEP_MS = 50;

/**
 * Acts when this process has run for so long. The time in which it stood still (a busy machine, a paused one) does not
 * count: what the others did meanwhile has come, but is read only after the timers that are due.
 * @returns ends it
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

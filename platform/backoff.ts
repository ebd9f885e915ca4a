export interface BackoffOptions {
  /** The upper bound of the first wait, milliseconds. */
  minMs: number;
  /** The upper bound of every wait, milliseconds. */
  maxMs: number;
}

/**
 * Exponential back-off with full jitter: returns the milliseconds to wait before attempt `attempt` (from 0). The wait
 * lies between 0 and a bound that doubles with each attempt. Full jitter spreads many cameras that lost their link at
 * the same moment.
 */
export function backoffMs(
  attempt: number,
  { minMs, maxMs }: BackoffOptions,
  random: () => number = Math.random,
): number {
  return random() * Math.min(maxMs, minMs * 2 ** Math.min(attempt, 30));
}

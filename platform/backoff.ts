export interface BackoffOptions {
  /** The longest first wait, milliseconds. */
  minMs: number;
  /** The longest wait of all, milliseconds. */
  maxMs: number;
}

/**
 * The wait before attempt `attempt` (from 0), milliseconds: anything from none to a bound that doubles. Full jitter
 * spreads the cameras of a whole mountain, which lost their link in the same moment, better than a bound with a little.
 */
export function backoffMs(
  attempt: number,
  { minMs, maxMs }: BackoffOptions,
  random: () => number = Math.random,
): number {
  return random() * Math.min(maxMs, minMs * 2 ** Math.min(attempt, 30));
}

export interface BackoffOptions {
  /** The upper bound of the first wait. */
  minMs: number;
  /** The upper bound of every wait. */
  maxMs: number;
}

/**
 * The wait before attempt `attempt` (from 0): between 0 and a bound that doubles with each attempt. This full jitter
 * spreads many cameras that lost their link at the same moment.
 */
export function backoffMs(attempt: number, { minMs, maxMs }: BackoffOptions, random = Math.random): number {
  return random() * Math.min(maxMs, minMs * 2 ** Math.min(attempt, 30));
}

export interface BackoffOptions {
  /** The shortest wait, milliseconds. Default 500. */
  minDelayMs?: number;
  /** The longest wait, milliseconds. Default 20,000. */
  maxDelayMs?: number;
  /** A connection that lasted this long resets the count of failures, milliseconds. Default 10,000. */
  stableAfterMs?: number;
  /** Returns a number from 0 up to 1. Default `Math.random`. */
  random?: () => number;
}

/**
 * The wait before the next attempt: a random time between the shortest wait and a ceiling that doubles with every failure
 * ("full jitter"). Without jitter, a thousand pages that lost one server would all reconnect in the same second. Only a
 * stable connection resets the count. Otherwise a client would reconnect without a pause to a server that accepts each
 * connection and then drops it.
 */
export class Backoff {
  readonly #options: BackoffOptions;
  #failures = 0;

  constructor(options: BackoffOptions = {}) {
    this.#options = options;
  }

  /** Failed attempts since the last stable connection. */
  get failures(): number {
    return this.#failures;
  }

  /** Counts a failure. @returns the milliseconds to wait */
  failed(): number {
    const { minDelayMs = 500, maxDelayMs = 20_000, random = Math.random } = this.#options;
    this.#failures++;
    // From 1024 failures on, 2 ** failures is Infinity, and the ceiling is the longest wait.
    const ceiling = Math.min(Math.max(minDelayMs, maxDelayMs), minDelayMs * 2 ** this.#failures);
    return minDelayMs + random() * (ceiling - minDelayMs);
  }

  /** A connection ended after `durationMs`. */
  lasted(durationMs: number): void {
    if (durationMs >= (this.#options.stableAfterMs ?? 10_000)) this.#failures = 0;
  }
}

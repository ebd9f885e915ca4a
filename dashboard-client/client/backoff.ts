export interface BackoffOptions {
  /** The shortest wait, milliseconds. Default 500. */
  minDelayMs?: number;
  /** The longest wait, milliseconds. Default 20,000. */
  maxDelayMs?: number;
  /** A connection that lasted this long, milliseconds, starts the count anew. Default 10,000. */
  stableAfterMs?: number;
  /** A number from 0 up to 1. Default `Math.random`. */
  random?: () => number;
}

/**
 * How long to wait before the next attempt: anywhere between the shortest wait and a ceiling that doubles with every
 * failure ("full jitter"). Without the spread, a thousand pages that lost one server all come back in the same second,
 * and again together after each failure. A connection must have been stable before the count starts anew, or a server
 * that accepts and then drops would be asked without pause.
 */
export class Backoff {
  readonly #minDelayMs: number;
  readonly #maxDelayMs: number;
  readonly #stableAfterMs: number;
  readonly #random: () => number;
  #failures = 0;

  constructor({
    minDelayMs = 500,
    maxDelayMs = 20_000,
    stableAfterMs = 10_000,
    random = Math.random,
  }: BackoffOptions = {}) {
    this.#minDelayMs = minDelayMs;
    this.#maxDelayMs = Math.max(minDelayMs, maxDelayMs);
    this.#stableAfterMs = stableAfterMs;
    this.#random = random;
  }

  /** Failed attempts since the last stable connection. */
  get failures(): number {
    return this.#failures;
  }

  /** Counts a failure; returns the milliseconds to wait. */
  failed(): number {
    this.#failures++;
    // 2 ** 1024 is Infinity, and the smaller of it and the longest wait is the longest wait.
    const ceiling = Math.min(this.#maxDelayMs, this.#minDelayMs * 2 ** this.#failures);
    return this.#minDelayMs + this.#random() * (ceiling - this.#minDelayMs);
  }

  /** A connection that had been made ended after `durationMs`. */
  lasted(durationMs: number): void {
    if (durationMs >= this.#stableAfterMs) this.#failures = 0;
  }
}

export interface BackoffOptions {
  /** The shortest wait, milliseconds. Default 500. */
  minDelayMs?: number;
  /** The longest wait, milliseconds. Default 20,000. */
  maxDelayMs?: number;
  /** Milliseconds. A connection that lasted this long resets the count of failures. Default 10,000. */
  stableAfterMs?: number;
  /** Returns a number from 0 up to 1. Default `Math.random`. */
  random?: () => number;
}

/**
 * How long to wait before the next attempt: a random time between the shortest wait and a ceiling that doubles with
 * every failure ("full jitter"). Without the jitter, a thousand pages that lost one server would all reconnect in the
 * same second, and again in one second after each failure. Only a connection that was stable resets the count.
 * Otherwise a client would reconnect without a pause to a server that accepts each connection and then drops it.
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

  /** Counts a failure. @returns the milliseconds to wait */
  failed(): number {
    this.#failures++;
    // From 1024 failures on, 2 ** failures is Infinity; `Math.min` then returns the longest wait.
    const ceiling = Math.min(this.#maxDelayMs, this.#minDelayMs * 2 ** this.#failures);
    return this.#minDelayMs + this.#random() * (ceiling - this.#minDelayMs);
  }

  /** A connection ended after `durationMs`. */
  lasted(durationMs: number): void {
    if (durationMs >= this.#stableAfterMs) this.#failures = 0;
  }
}

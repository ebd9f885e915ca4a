/** Counts what one peer sends: `burst` at once, and `perSecond` in the long run. */
export class TokenBucket {
  readonly #perSecond: number;
  readonly #burst: number;
  #left: number;
  #at: number;
  /** Refusals since the last time that something was allowed. */
  refused = 0;

  /** @param now milliseconds, of any clock that runs forward */
  constructor(perSecond: number, burst: number, now: number) {
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#left = burst;
    this.#at = now;
  }

  allows(now: number): boolean {
    // Without a limit there is nothing to count: Infinity times no time would be no number.
    if (this.#perSecond === Number.POSITIVE_INFINITY) return true;
    this.#left = Math.min(this.#burst, this.#left + (Math.max(0, now - this.#at) * this.#perSecond) / 1000);
    this.#at = now;
    if (this.#left < 1) {
      this.refused++;
      return false;
    }
    this.#left--;
    this.refused = 0;
    return true;
  }
}

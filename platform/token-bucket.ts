/** A token bucket that may be overspent. `Infinity` for `perSecond` means no limit. */
export class TokenBucket {
  readonly #perSecond: number;
  readonly #size: number;
  /** Tokens left; negative after overspending. */
  left: number;
  #filledAt: number;

  /** @param now milliseconds of a monotonic clock. Default: `performance.now()`. */
  constructor(perSecond: number, size: number, now = performance.now()) {
    this.#perSecond = perSecond;
    this.#size = perSecond === Number.POSITIVE_INFINITY ? perSecond : size;
    this.left = this.#size;
    this.#filledAt = now;
  }

  get isFull(): boolean {
    return this.left >= this.#size;
  }

  /** Milliseconds until the bucket has a whole token; 0 while it has any part of a token. */
  get waitMs(): number {
    return this.left > 0 ? 0 : ((1 - this.left) * 1000) / this.#perSecond;
  }

  spend(tokens: number): void {
    this.left -= tokens;
  }

  refill(now: number): void {
    const elapsedMs = Math.max(0, now - this.#filledAt);
    this.#filledAt = now;
    // `Infinity` times zero milliseconds would be NaN.
    if (this.#perSecond === Number.POSITIVE_INFINITY) return;
    this.left = Math.min(this.#size, this.left + (elapsedMs * this.#perSecond) / 1000);
  }

  /** Takes one token after a refill. @returns false when no whole token is left */
  take(now: number): boolean {
    this.refill(now);
    if (this.left < 1) return false;
    this.left--;
    return true;
  }
}

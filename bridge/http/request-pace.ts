import { setTimeout as sleep } from "node:timers/promises";

/** Requests that somebody who has rested may make at once: what a page asks for when it opens. */
const BURST = 40;
/** Somebody with more than this waiting asks for what nobody will read, ms. */
const MAX_WAIT_MS = 10_000;
/** Addresses that are remembered before those that have rested are forgotten. */
const MAX_REMEMBERED = 10_000;

/**
 * Spreads the requests of one address, so that a burst of them does not hold the event loop: beyond {@link BURST} they are
 * taken up one after the other, at an even rate. Nothing is refused for that.
 * Twenty connections that asked again and again made other people's events 41 ms late (`npm run test:abuse`).
 */
export class RequestPace {
  readonly #intervalMs: number;
  /** When the next request of an address would be due if all came at an even rate, of `performance.now()`. */
  readonly #due = new Map<string, number>();
  /** Addresses at which those that have rested are looked for again. */
  #sweepAt = MAX_REMEMBERED;

  /** @param perSecond requests of one address; `Infinity` is no limit */
  constructor(perSecond: number) {
    this.#intervalMs = 1000 / perSecond;
  }

  /** @returns when it is the turn of this request: false of one for which too many wait already, and that is not to be taken up */
  async turn(address: string): Promise<boolean> {
    if (this.#intervalMs === 0) return true;
    const now = performance.now();
    const waitMs = this.#dueOf(address, now) - now;
    if (waitMs > MAX_WAIT_MS) return false;
    this.#due.set(address, now + waitMs + this.#intervalMs);
    if (this.#due.size > this.#sweepAt) this.#sweep(now);
    if (waitMs > 0) await sleep(waitMs, undefined, { ref: false });
    return true;
  }

  /** In the past for somebody who has rested, by at most a burst. */
  #dueOf(address: string, now: number): number {
    const restedSince = now - BURST * this.#intervalMs;
    return Math.max(this.#due.get(address) ?? restedSince, restedSince);
  }

  #sweep(now: number): void {
    for (const [address, due] of this.#due) if (due <= now - BURST * this.#intervalMs) this.#due.delete(address);
    this.#sweepAt = Math.max(MAX_REMEMBERED, 2 * this.#due.size);
  }
}

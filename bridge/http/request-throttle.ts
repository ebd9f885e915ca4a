import { setTimeout as sleep } from "node:timers/promises";

/** The requests that an address may send at once after a pause: the dashboard page sends as many when it opens. */
const BURST = 40;
/** The longest wait of a request, milliseconds. A request that would wait longer is dropped. */
const MAX_WAIT_MS = 10_000;
/** Above this number of addresses, those without recent requests are removed. */
const MAX_ADDRESSES = 10_000;

/**
 * Spreads the requests of one address, so that a burst does not block the event loop. Requests beyond {@link BURST} at
 * once are delayed to an even rate, not refused.
 *
 * Without the throttle, twenty connections that sent requests in a loop delayed other clients' events by 41 ms
 * (`npm run test:abuse`).
 */
export class RequestThrottle {
  readonly #intervalMs: number;
  /** When the next request of an address may start, by `performance.now()`. */
  readonly #nextAt = new Map<string, number>();
  #sweepSize = MAX_ADDRESSES;

  /** @param perSecond per address; `Infinity` means no limit */
  constructor(perSecond: number) {
    this.#intervalMs = 1000 / perSecond;
  }

  /** Resolves when the request may continue, or to false if too many requests wait and this one must be dropped. */
  async wait(address: string): Promise<boolean> {
    if (this.#intervalMs === 0) return true;
    const now = performance.now();
    const waitMs = this.#nextOf(address, now) - now;
    if (waitMs > MAX_WAIT_MS) return false;
    this.#nextAt.set(address, now + waitMs + this.#intervalMs);
    if (this.#nextAt.size > this.#sweepSize) this.#removeRested(now);
    if (waitMs > 0) await sleep(waitMs, undefined, { ref: false });
    return true;
  }

  /** When the next request may start. After a pause, this time is in the past by at most the length of a burst. */
  #nextOf(address: string, now: number): number {
    const restedSince = now - BURST * this.#intervalMs;
    return Math.max(this.#nextAt.get(address) ?? restedSince, restedSince);
  }

  #removeRested(now: number): void {
    for (const [address, nextAt] of this.#nextAt)
      if (nextAt <= now - BURST * this.#intervalMs) this.#nextAt.delete(address);
    this.#sweepSize = Math.max(MAX_ADDRESSES, 2 * this.#nextAt.size);
  }
}

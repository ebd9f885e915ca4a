import { setTimeout as sleep } from "node:timers/promises";

/** Requests that a rested address may send at once: what the dashboard page requests when it opens. */
const BURST = 40;
/** A client whose next request would wait longer sends more than it can read. */
const MAX_WAIT_MS = 10_000;
/** The number of addresses above which rested ones are removed. */
const MAX_ADDRESSES = 10_000;

/**
 * Spreads the requests of one address, so that a burst does not block the event loop. Above {@link BURST} requests at once, they
 * continue one after the other at an even rate. They are delayed, not refused.
 *
 * Without it, twenty connections that sent requests in a loop delayed other clients' events by 41 ms (`npm run test:abuse`).
 */
export class RequestThrottle {
  readonly #intervalMs: number;
  /** When the next request of an address may start, by `performance.now()`. */
  readonly #nextAt = new Map<string, number>();
  #sweepSize = MAX_ADDRESSES;

  /** @param perSecond requests of one address; `Infinity` is no limit */
  constructor(perSecond: number) {
    this.#intervalMs = 1000 / perSecond;
  }

  /** Resolves when the request may continue. @returns false: too many requests wait already, and this one must be dropped */
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

  /** Lies in the past for a rested address, by at most a burst. */
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

import { JUMP_MS } from "../clock/clock-state.ts";

/** A smaller difference does not show a wrong clock: an outbox sends messages of up to ten minutes ago as current. */
const TOLERANCE_MS = 3 * JUMP_MS;
/** The most cameras with a wrong clock. The oldest entry is dropped first. */
const MAX_SENDERS = 10_000;

/** How far the cameras' clocks are ahead of the system's clock, from the last current message of each camera. */
export class SenderClocks {
  readonly #aheadMs = new Map<string, number>();

  /**
   * Learns from a message that is not from a backlog.
   * @param now the system's clock, milliseconds since 1970
   * @returns how far the message's timestamp is ahead of `now`, milliseconds
   */
  note(camera: string, timestamp: string, now: number): number {
    const aheadMs = Date.parse(timestamp) - now;
    const wasKnown = this.#aheadMs.delete(camera);
    if (Math.abs(aheadMs) <= TOLERANCE_MS) return aheadMs;
    const [oldest] = this.#aheadMs.keys();
    if (!wasKnown && oldest !== undefined && this.#aheadMs.size >= MAX_SENDERS) this.#aheadMs.delete(oldest);
    this.#aheadMs.set(camera, aheadMs);
    return aheadMs;
  }

  /** Milliseconds; 0 when the clock is right or unknown. */
  aheadOf(camera: string): number {
    return this.#aheadMs.get(camera) ?? 0;
  }
}

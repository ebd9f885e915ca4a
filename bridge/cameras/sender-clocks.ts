import { JUMP_MS } from "../clock/clock-state.ts";

/**
 * A smaller difference does not show that a camera's clock is wrong: its outbox sends messages as current ones until
 * they are ten minutes old.
 */
const TOLERANCE_MS = 3 * JUMP_MS;
/** Cameras with a wrong clock. Above this number the oldest entry is dropped. */
const MAX_SENDERS = 10_000;

/** How far the cameras' clocks are ahead of the system's clock, from the last current message of each camera. */
export class SenderClocks {
  readonly #aheadMs = new Map<string, number>();

  /**
   * Learns from a message.
   * @param timestamp by the camera's clock; the message must not be from a backlog
   * @param wall the system's clock, milliseconds since 1970
   */
  note(camera: string, timestamp: string, wall: number): void {
    const aheadMs = Date.parse(timestamp) - wall;
    const wasKnown = this.#aheadMs.delete(camera);
    if (Math.abs(aheadMs) <= TOLERANCE_MS) return;
    const [oldest] = this.#aheadMs.keys();
    if (!wasKnown && oldest !== undefined && this.#aheadMs.size >= MAX_SENDERS) this.#aheadMs.delete(oldest);
    this.#aheadMs.set(camera, aheadMs);
  }

  /** @returns milliseconds; 0 when the clock is right or unknown */
  aheadOf(camera: string): number {
    return this.#aheadMs.get(camera) ?? 0;
  }
}

import { JUMP_MS } from "../clock/clock-state.ts";

/**
 * Messages up to ten minutes old come from a camera's outbox as if they were of now: less says nothing of its clock.
 */
const TOLERANCE_MS = 3 * JUMP_MS;
/** Cameras whose clocks are remembered. */
const MAX_SENDERS = 10_000;

/** How far cameras' clocks are ahead of the system's, by the last that each said of now. */
export class SenderClocks {
  readonly #aheadMs = new Map<string, number>();

  /** @param timestamp of a message that is not of a backlog, by the sender's clock */
  note(camera: string, timestamp: string, wall: number): void {
    const aheadMs = Date.parse(timestamp) - wall;
    const wasOff = this.#aheadMs.delete(camera);
    if (Math.abs(aheadMs) <= TOLERANCE_MS) return;
    const [oldest] = this.#aheadMs.keys();
    if (!wasOff && oldest !== undefined && this.#aheadMs.size >= MAX_SENDERS) this.#aheadMs.delete(oldest);
    this.#aheadMs.set(camera, aheadMs);
  }

  /** @returns milliseconds; 0 for a clock that is right, or of which nothing is known */
  aheadOf(camera: string): number {
    return this.#aheadMs.get(camera) ?? 0;
  }
}

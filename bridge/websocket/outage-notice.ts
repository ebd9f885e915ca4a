import { ReplyCode } from "../../contract/codes.ts";
import type { ServerMessage } from "../../contract/socket-messages.ts";

/** An outage that begins within this time after the end of another belongs to that outage. Milliseconds. */
const MERGE_MS = 5_000;

/** The notice to clients. The reason is for operators only. */
export const STORE_OUTAGE: ServerMessage = {
  type: "error",
  error: "The event store is unavailable: events that happen meanwhile follow when it is back",
  code: ReplyCode.storeUnavailable,
};

/** Decides which clients are notified that the store is unavailable: each once per outage. The end is not announced. */
export class OutageNotice {
  readonly #unavailableReason: () => string | undefined;
  #hasBegun = false;
  #unavailableAt = Number.NEGATIVE_INFINITY;
  #notified = new WeakSet<object>();

  /** @param unavailableReason why the store accepts no writes; undefined when it does */
  constructor(unavailableReason: () => string | undefined) {
    this.#unavailableReason = unavailableReason;
  }

  /** Call this at an interval. @returns whether the store is unavailable, so that clients must be notified */
  check(now: number): boolean {
    if (this.#unavailableReason() !== undefined) {
      this.#hasBegun = true;
      this.#unavailableAt = now;
      return true;
    }
    if (this.#hasBegun && now - this.#unavailableAt > MERGE_MS) {
      this.#hasBegun = false;
      this.#notified = new WeakSet();
    }
    return false;
  }

  /** Whether the outage of the last check still lasts. */
  get isOngoing(): boolean {
    return this.#hasBegun && this.#unavailableReason() !== undefined;
  }

  /** Whether the client has not been notified of this outage. From now on, it has: it may have connected in between. */
  isNewTo(client: object): boolean {
    if (this.#notified.has(client)) return false;
    this.#notified.add(client);
    return true;
  }
}

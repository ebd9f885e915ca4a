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

/** Decides when clients are notified that the store is unavailable: once per outage. The end is not announced. */
export class OutageNotice {
  readonly #unavailableReason: () => string | undefined;
  #announced = false;
  #unavailableAt = Number.NEGATIVE_INFINITY;

  /** @param unavailableReason why the store accepts no writes; undefined when it does */
  constructor(unavailableReason: () => string | undefined) {
    this.#unavailableReason = unavailableReason;
  }

  /** Whether an announced outage still lasts. If so, the caller notifies clients that connect. */
  get isOngoing(): boolean {
    return this.#announced && this.#unavailableReason() !== undefined;
  }

  /** Whether an outage has begun since the last call. If so, the caller notifies all connected clients. */
  begins(now: number): boolean {
    if (this.#unavailableReason() === undefined) {
      if (now - this.#unavailableAt > MERGE_MS) this.#announced = false;
      return false;
    }
    this.#unavailableAt = now;
    const isNew = !this.#announced;
    this.#announced = true;
    return isNew;
  }
}

import { ReplyCode } from "../../contract/codes.ts";
import type { ServerMessage } from "../../contract/socket-messages.ts";

/** A store that was back for less has not been away a second time, milliseconds. */
const REST_MS = 5_000;

/** What clients are told; why is for operators alone. */
export const STORE_AWAY: ServerMessage = {
  type: "error",
  error: "The event store is away: what happens meanwhile follows when it is back",
  code: ReplyCode.storeUnavailable,
};

/** Finds out when clients are to be told that the store is away: once in an outage. That it is back shows by itself. */
export class OutageNotice {
  readonly #trouble: () => string | undefined;
  #told = false;
  #awayAt = Number.NEGATIVE_INFINITY;

  /** @param unavailableReason why the store takes no writes; undefined when it does */
  constructor(unavailableReason: () => string | undefined) {
    this.#trouble = unavailableReason;
  }

  /** Whether those who were there have been told of an outage that goes on. */
  get standing(): boolean {
    return this.#told && this.#trouble() !== undefined;
  }

  /** Whether an outage has begun since the last look. Those who come while it is {@link standing} are told when they come. */
  begins(now: number): boolean {
    if (this.#trouble() === undefined) {
      if (now - this.#awayAt > REST_MS) this.#told = false;
      return false;
    }
    this.#awayAt = now;
    const isNews = !this.#told;
    this.#told = true;
    return isNews;
  }
}

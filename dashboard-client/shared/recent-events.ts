import type { DashboardEvent, Since } from "../../contract/socket-messages.ts";

/** The most events of a channel that the leader keeps for tabs that join. */
const MAX_RECENT_EVENTS = 4096;

/** The last events of a channel, complete from a position on. */
export class RecentEvents {
  #epoch: string | undefined;
  /** All events after this position are kept. */
  #from = 0;
  #events: DashboardEvent[] = [];

  /** @param cursor all later events follow; undefined: nothing is known until the next call */
  start(cursor: Since | undefined): void {
    this.#epoch = cursor?.epoch;
    this.#from = cursor?.position ?? 0;
    this.#events = [];
  }

  /** @param cursor after the event */
  add(event: DashboardEvent, cursor: Since): void {
    if (this.#epoch !== cursor.epoch) return;
    this.#events.push(event);
    // Removes half at once, because removing the first element moves all others.
    if (this.#events.length <= MAX_RECENT_EVENTS) return;
    const removed = this.#events.splice(0, MAX_RECENT_EVENTS / 2);
    this.#from = removed.at(-1)?.position ?? this.#from;
  }

  get isStarted(): boolean {
    return this.#epoch !== undefined;
  }

  /** The events after a cursor; undefined if some may be missing. */
  after(since: Since | undefined): DashboardEvent[] | undefined {
    if (since === undefined || since.epoch !== this.#epoch || since.position < this.#from) return undefined;
    return this.#events.filter(({ position }) => position > since.position);
  }
}

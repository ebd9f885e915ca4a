import type { Entry } from "../journal/journal.ts";
import { type ChannelFilter, labelOf } from "./channel-filter.ts";

/** One flush of a group: the events of the filter above `after` and up to `until`. */
export interface Flush {
  filter: ChannelFilter;
  after: number;
  until: number;
  /** The sockets that were written to. */
  sockets: number;
  /** Before the first and after the last write, by `performance.now()`. */
  startedAt: number;
  endedAt: number;
}

/** To how many sockets an event was written, and when, by `performance.now()`. */
export interface LiveDelivery {
  sockets: number;
  /** Undefined without a socket. */
  firstAt: number | undefined;
  lastAt: number | undefined;
}

const MAX_FLUSHES = 10_000;
/**
 * The largest number of channels and cameras that the filters of all flushes name together. A filter counts once for
 * each of its flushes.
 */
const MAX_NAMES = 100_000;

/** The newest flushes. A flush is noted once for a group and not once for an event, so that events cost nothing more. */
export class FlushLog {
  #flushes: Flush[] = [];
  /**
   * The index of the oldest flush. The flushes before this index are removed, but stay in the array until they are half
   * of it.
   */
  #start = 0;
  #names = 0;
  #knownAfter: number;

  /** @param knownAfter the position after which every event is noted */
  constructor(knownAfter: number) {
    this.#knownAfter = knownAfter;
  }

  add(flush: Flush): void {
    this.#flushes.push(flush);
    this.#names += namesOf(flush);
    while (this.#flushes.length - this.#start > MAX_FLUSHES || this.#names > MAX_NAMES) this.#removeOldest();
    if (this.#start * 2 > this.#flushes.length) {
      this.#flushes = this.#flushes.slice(this.#start);
      this.#start = 0;
    }
  }

  /** Call this when the journal continues at another position. */
  clear(knownAfter: number): void {
    this.#flushes = [];
    this.#start = 0;
    this.#names = 0;
    this.#knownAfter = knownAfter;
  }

  /** @returns undefined when the flushes of the event are no longer known */
  deliveryOf(entry: Pick<Entry, "position" | "channels" | "camera">): LiveDelivery | undefined {
    const { position } = entry;
    if (position <= this.#knownAfter) return undefined;
    const delivery: LiveDelivery = { sockets: 0, firstAt: undefined, lastAt: undefined };
    for (let index = this.#start; index < this.#flushes.length; index++) {
      const flush = this.#flushes[index];
      if (flush === undefined || position <= flush.after || position > flush.until) continue;
      if (labelOf(flush.filter, entry) === undefined) continue;
      delivery.sockets += flush.sockets;
      delivery.firstAt ??= flush.startedAt;
      delivery.lastAt = flush.endedAt;
    }
    return delivery;
  }

  #removeOldest(): void {
    const oldest = this.#flushes[this.#start++];
    if (oldest === undefined) return;
    this.#names -= namesOf(oldest);
    this.#knownAfter = Math.max(this.#knownAfter, oldest.until);
  }
}

function namesOf({ filter: { channels, onlyCameras } }: Flush): number {
  return channels.size + (onlyCameras?.size ?? 0);
}

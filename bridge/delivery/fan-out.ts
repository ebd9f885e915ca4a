import type { Logger } from "pino";
import type { Entry } from "../journal/journal.ts";
import { type ChannelFilter, labelOf } from "./channel-filter.ts";
import { eventText, textFrame } from "./frames.ts";
import { RecentEntries } from "./recent-entries.ts";
import type { Subscriber } from "./subscriber.ts";
import { SubscriberGroup } from "./subscriber-group.ts";

export interface FanOutOptions {
  /** The journal's newest position. */
  edge: number;
  /** The shortest time from one flush to the next, milliseconds; 0 flushes every batch at once. */
  flushIntervalMs: number;
  /** What one socket may have unsent. */
  maxQueuedBytes: number;
  /** A feed's socket has no room: it is no longer served, and has everything up to `after`. */
  onLagging: (subscriber: Subscriber, after: number) => void;
  logger: Logger;
}

export interface FanOutStats {
  groups: number;
  flushes: number;
  writes: number;
  deliveries: number;
  bytes: number;
}

/**
 * Live delivery. An entry is encoded once for each way it can be labelled, put into the groups that see it, and written
 * with what else has gathered: at once when nothing was written lately, else when the flush interval is over. So the
 * cost grows with time and sockets, not with events.
 */
export class FanOut {
  readonly recentEntries: RecentEntries;
  readonly #options: FanOutOptions;
  readonly #groups = new Map<string, SubscriberGroup>();
  readonly #byChannel = new Map<string, Set<SubscriberGroup>>();
  #dirty: SubscriberGroup[] = [];
  #timer: NodeJS.Timeout | undefined;
  #flushedAt = Number.NEGATIVE_INFINITY;
  #stats: Omit<FanOutStats, "groups"> = { flushes: 0, writes: 0, deliveries: 0, bytes: 0 };

  constructor(options: FanOutOptions) {
    this.#options = options;
    this.recentEntries = new RecentEntries(options.edge);
  }

  /** The newest position; feeds that are live have everything up to here, or it is about to be flushed. */
  get edge(): number {
    return this.recentEntries.edge;
  }

  /** New entries of the journal, in order. Never throws: it is called by whoever appends. */
  accept(entries: readonly Entry[]): void {
    try {
      for (const entry of entries) {
        this.recentEntries.push(entry);
        this.#route(entry);
      }
      if (this.#dirty.length > 0) this.#schedule();
    } catch (error) {
      this.#options.logger.error({ err: error }, "fan-out failed");
    }
  }

  /** From now on the feed is given everything new. It must have everything up to {@link FanOut.edge}. */
  join(subscriber: Subscriber): void {
    let group = this.#groups.get(subscriber.filter.key);
    if (group === undefined) {
      group = new SubscriberGroup(subscriber.filter, this.#options.maxQueuedBytes);
      this.#groups.set(subscriber.filter.key, group);
      for (const channel of subscriber.filter.channels) {
        const groups = this.#byChannel.get(channel);
        if (groups === undefined) this.#byChannel.set(channel, new Set([group]));
        else groups.add(group);
      }
    }
    // What is pending the newcomer has already.
    this.#flushGroup(group);
    group.add(subscriber);
    subscriber.group = group;
    subscriber.filter = group.view;
  }

  /** Takes a live feed out; it has been given everything up to the position that is returned. */
  leave(subscriber: Subscriber): number {
    const { group } = subscriber;
    if (group === undefined) return subscriber.cursor;
    this.#flushGroup(group);
    // That flush may have found the feed lagging, and taken it out.
    if (subscriber.group === undefined) return subscriber.cursor;
    group.remove(subscriber);
    this.#left(subscriber, group);
    return this.edge;
  }

  /** The journal goes on from another position. Nobody may be live. */
  reset(edge: number): void {
    this.recentEntries.reset(edge);
  }

  stats(): FanOutStats {
    return { groups: this.#groups.size, ...this.#stats };
  }

  /** Writes what is pending. */
  stop(): void {
    this.#flush();
  }

  #route(entry: Entry): void {
    let frames: Map<string, Buffer> | undefined;
    for (const channel of entry.channels) {
      const groups = this.#byChannel.get(channel);
      if (groups === undefined) continue;
      for (const group of groups) {
        if (group.seen === entry.position) continue;
        group.seen = entry.position;
        const label = labelOf(group.view, entry);
        if (label === undefined) continue;
        const key = label.join(" ");
        frames ??= new Map();
        let frame = frames.get(key);
        if (frame === undefined) {
          frame = textFrame(eventText(entry.body, entry.position, label));
          frames.set(key, frame);
        }
        if (!group.hasPending) this.#dirty.push(group);
        group.push(frame, entry.position);
        if (group.full) this.#flushGroup(group);
      }
    }
  }

  #schedule(): void {
    if (this.#timer !== undefined) return;
    const waitMs = this.#flushedAt + this.#options.flushIntervalMs - performance.now();
    if (waitMs <= 0) this.#flush();
    else this.#timer = setTimeout(() => this.#flush(), waitMs);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const dirty = this.#dirty;
    this.#dirty = [];
    this.#stats.flushes++;
    for (const group of dirty) this.#flushGroup(group);
    // From the end of a flush: however many sockets there are, there is time for other work between two.
    this.#flushedAt = performance.now();
  }

  #flushGroup(group: SubscriberGroup): void {
    const { writes, deliveries, bytes } = group.flush((subscriber, after) => {
      this.#left(subscriber, group);
      this.#options.onLagging(subscriber, after);
    });
    this.#stats.writes += writes;
    this.#stats.deliveries += deliveries;
    this.#stats.bytes += bytes;
  }

  #left(subscriber: Subscriber, group: SubscriberGroup): void {
    subscriber.group = undefined;
    if (group.size > 0) return;
    this.#groups.delete(group.view.key);
    for (const channel of group.view.channels) {
      const groups = this.#byChannel.get(channel);
      groups?.delete(group);
      if (groups?.size === 0) this.#byChannel.delete(channel);
    }
  }
}

/** For feeds that see nothing. */
export const NOTHING: ChannelFilter = { key: "", channels: new Set(), onlyCameras: undefined };

import type { Logger } from "pino";
import type { Entry, Journal } from "../journal/journal.ts";
import { RecentEntries } from "../journal/recent-entries.ts";
import { type ChannelFilter, labelOf } from "./channel-filter.ts";
import { FlushLog } from "./flush-log.ts";
import { eventText, textFrame } from "./frames.ts";
import { type GroupMember, type LiveSubscriber, SubscriberGroup } from "./subscriber-group.ts";

/** The newest entries kept for subscribers that are almost at the live edge. */
const RECENT_LIMITS = { maxEntries: 1_000, maxChars: 1_250_000 };

export interface FanOutOptions {
  journal: Pick<Journal, "head" | "follow">;
  /** The shortest time between two flushes, milliseconds; 0 flushes every batch at once. */
  flushIntervalMs: number;
  /** The largest number of unsent bytes of one socket. */
  maxQueuedBytes: number;
  /** Called after each flush with the time that its oldest event waited, seconds. Default: not measured. */
  onDelivered?: ((seconds: number) => void) | undefined;
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
 * Live delivery. Each entry is encoded once per label (the subscribed channels that it matches), and added to the
 * groups whose filter selects it. A flush writes all pending entries: at once if the last flush was long ago, else at
 * the end of the flush interval. So the cost grows with time and sockets, not with events.
 */
export class FanOut {
  readonly #options: FanOutOptions;
  readonly recentEntries = new RecentEntries(RECENT_LIMITS);
  readonly flushLog: FlushLog;
  readonly #groups = new Map<string, SubscriberGroup>();
  readonly #groupsByChannel = new Map<string, Set<SubscriberGroup>>();
  #edge: number;
  #unflushed: SubscriberGroup[] = [];
  /** When the oldest pending entry was routed, by `performance.now()`. */
  #unflushedSince = 0;
  #timer: NodeJS.Timeout | undefined;
  #flushedAt = Number.NEGATIVE_INFINITY;
  #unfollow: (() => void) | undefined;
  #stats: Omit<FanOutStats, "groups"> = { flushes: 0, writes: 0, deliveries: 0, bytes: 0 };

  constructor(options: FanOutOptions) {
    this.#options = options;
    this.#edge = options.journal.head;
    this.flushLog = new FlushLog(this.#edge);
  }

  /** Call this in the same turn of the event loop as the constructor. */
  start(): void {
    this.#unfollow = this.#options.journal.follow(this.#route);
  }

  /** The position of the last routed entry. All entries up to it were sent to live subscribers, or are pending. */
  get edge(): number {
    return this.#edge;
  }

  /** Adds a subscriber that has received everything up to {@link FanOut.edge}. */
  join(subscriber: LiveSubscriber, filter: ChannelFilter): GroupMember {
    const present = this.#groups.get(filter.key);
    // The group's pending events are written before the new member joins, because the new member has them already. This
    // removes the group if all its sockets are full.
    if (present !== undefined) this.#flushGroup(present);
    let group = this.#groups.get(filter.key);
    if (group === undefined) {
      group = new SubscriberGroup(filter, this.#options.maxQueuedBytes);
      this.#groups.set(filter.key, group);
      for (const channel of filter.channels) {
        const groups = this.#groupsByChannel.get(channel) ?? new Set();
        this.#groupsByChannel.set(channel, groups.add(group));
      }
    }
    return group.add(subscriber);
  }

  /**
   * Sends a subscriber the pending frames, and removes it. If its socket has no room, the subscriber falls behind.
   * @returns the position up to which the subscriber was sent everything, unless it fell behind
   */
  leave(member: GroupMember): number {
    const { group } = member;
    this.#flushGroup(group);
    if (group.remove(member)) this.#removeIfEmpty(group);
    return this.#edge;
  }

  /** Continues at the journal's head after a reset. No subscriber may be live. */
  reset(): void {
    this.recentEntries.clear();
    this.#edge = this.#options.journal.head;
    this.flushLog.clear(this.#edge);
  }

  stats(): FanOutStats {
    return { groups: this.#groups.size, ...this.#stats };
  }

  /** Ends following the journal, and writes the pending frames. */
  stop(): void {
    this.#unfollow?.();
    this.#flush();
  }

  /** Never throws, because the journal calls this within an append. */
  readonly #route = (given: readonly Entry[]): void => {
    try {
      // After a reset, subscribers read what this node has missed.
      const isNew = (given[0]?.position ?? 0) > this.#edge;
      const entries = isNew ? given : given.filter(({ position }) => position > this.#edge);
      this.recentEntries.push(entries);
      for (const entry of entries) {
        this.#edge = entry.position;
        this.#routeEntry(entry);
      }
      if (this.#unflushed.length > 0) this.#scheduleFlush();
    } catch (error) {
      this.#options.logger.error({ err: error }, "fan-out failed");
    }
  };

  #routeEntry(entry: Entry): void {
    let frames: Map<string, Buffer> | undefined;
    for (const channel of entry.channels) {
      const groups = this.#groupsByChannel.get(channel);
      if (groups === undefined) continue;
      for (const group of groups) {
        if (group.routedPosition === entry.position) continue;
        group.routedPosition = entry.position;
        const label = labelOf(group.filter, entry);
        if (label === undefined) continue;
        const key = label.join(" ");
        frames ??= new Map();
        let frame = frames.get(key);
        if (frame === undefined) {
          frame = textFrame(eventText(entry.body, entry.position, label));
          frames.set(key, frame);
        }
        if (!group.hasPending) {
          if (this.#unflushed.length === 0) this.#unflushedSince = performance.now();
          this.#unflushed.push(group);
        }
        group.push(frame, entry.position);
        if (group.full) this.#flushGroup(group);
      }
    }
  }

  #scheduleFlush(): void {
    if (this.#timer !== undefined) return;
    const waitMs = this.#flushedAt + this.#options.flushIntervalMs - performance.now();
    if (waitMs <= 0) this.#flush();
    else this.#timer = setTimeout(() => this.#flush(), waitMs);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const groups = this.#unflushed;
    this.#unflushed = [];
    this.#stats.flushes++;
    for (const group of groups) this.#flushGroup(group);
    if (groups.length > 0) this.#options.onDelivered?.((performance.now() - this.#unflushedSince) / 1000);
    // The interval begins at the end of a flush, so that other work gets time between two flushes of many sockets.
    this.#flushedAt = performance.now();
  }

  #flushGroup(group: SubscriberGroup): void {
    if (!group.hasPending) return;
    const startedAt = performance.now();
    const { filter, routedPosition: until } = group;
    const { after, writes, deliveries, bytes } = group.flush(this.#onRemoved);
    if (writes > 0) this.flushLog.add({ filter, after, until, sockets: writes, startedAt, endedAt: performance.now() });
    this.#stats.writes += writes;
    this.#stats.deliveries += deliveries;
    this.#stats.bytes += bytes;
  }

  readonly #onRemoved = ({ group, subscriber }: GroupMember, after: number): void => {
    this.#removeIfEmpty(group);
    subscriber.fallBehind(after);
  };

  #removeIfEmpty(group: SubscriberGroup): void {
    if (group.size > 0) return;
    this.#groups.delete(group.filter.key);
    for (const channel of group.filter.channels) {
      const groups = this.#groupsByChannel.get(channel);
      groups?.delete(group);
      if (groups?.size === 0) this.#groupsByChannel.delete(channel);
    }
  }
}

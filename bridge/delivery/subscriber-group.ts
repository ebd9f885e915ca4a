import type { ChannelFilter } from "./channel-filter.ts";
import type { Subscriber } from "./subscriber.ts";

/** The bytes at which a group's events are written without waiting for more: well below what a socket may queue. */
const MAX_PENDING_BYTES = 64 * 1024;

/** What a flush came to. */
export interface Flushed {
  /** Sockets written to. */
  writes: number;
  /** Events times sockets. */
  deliveries: number;
  bytes: number;
}

/**
 * Feeds at the live edge that see the same. An event is put here once, however many they are, and a flush writes one
 * shared buffer to each socket: the cost is that of the system call (test/bench, "1 event to 1,000 dashboards").
 */
export class SubscriberGroup {
  readonly view: ChannelFilter;
  readonly #maxQueuedBytes: number;
  readonly #feeds: Subscriber[] = [];
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  /** The position before the first pending event: everything up to it has been written to every feed. */
  #pendingAfter = 0;
  /** The entry that was last looked at, so that one of several channels is not looked at twice. */
  seen = 0;

  constructor(view: ChannelFilter, maxQueuedBytes: number) {
    this.view = view;
    this.#maxQueuedBytes = maxQueuedBytes;
  }

  get size(): number {
    return this.#feeds.length;
  }

  get hasPending(): boolean {
    return this.#pending.length > 0;
  }

  get full(): boolean {
    return this.#pendingBytes >= MAX_PENDING_BYTES;
  }

  /** Up to where every feed has been given everything, if the journal is at `edge`. */
  position(edge: number): number {
    return this.hasPending ? this.#pendingAfter : edge;
  }

  /** Only while nothing is pending, or the feed would be given what it has. */
  add(subscriber: Subscriber): void {
    subscriber.slot = this.#feeds.length;
    this.#feeds.push(subscriber);
  }

  remove(subscriber: Subscriber): void {
    const last = this.#feeds.pop();
    if (last === undefined || last === subscriber) return;
    this.#feeds[subscriber.slot] = last;
    last.slot = subscriber.slot;
  }

  push(frame: Buffer, position: number): void {
    if (this.#pending.length === 0) this.#pendingAfter = position - 1;
    this.#pending.push(frame);
    this.#pendingBytes += frame.length;
  }

  /** @param onLagging a feed whose socket has no room; it has left the group, with everything up to `after` */
  flush(onLagging: (subscriber: Subscriber, after: number) => void): Flushed {
    const [first, ...others] = this.#pending;
    if (first === undefined) return { writes: 0, deliveries: 0, bytes: 0 };
    const events = this.#pending.length;
    const frames = others.length === 0 ? first : Buffer.concat(this.#pending, this.#pendingBytes);
    this.#pending = [];
    this.#pendingBytes = 0;
    let writes = 0;
    // Backwards, for a feed that leaves is replaced by the last.
    for (let index = this.#feeds.length - 1; index >= 0; index--) {
      const subscriber = this.#feeds[index];
      if (subscriber === undefined) continue;
      const { connection } = subscriber;
      const queued = connection.socket.writableLength;
      if (queued > 0 && queued + frames.length > this.#maxQueuedBytes) {
        this.remove(subscriber);
        onLagging(subscriber, this.#pendingAfter);
      } else if (connection.open) {
        connection.socket.write(frames);
        writes++;
      }
    }
    return { writes, deliveries: writes * events, bytes: writes * frames.length };
  }
}

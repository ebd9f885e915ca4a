import type { ChannelFilter } from "./channel-filter.ts";
import type { FrameSink } from "./frame-sink.ts";

/** Pending bytes at which a group is flushed without waiting for more: well below what a socket may queue. */
const MAX_PENDING_BYTES = 64 * 1024;

/** A subscriber at the live edge, as fan-out and its group see it. */
export interface LiveSubscriber {
  readonly sink: FrameSink;
  /** Its socket is full: it has been removed from its group, and was sent everything up to and including `after`. */
  fallBehind(after: number): void;
}

/** A subscriber's place in its group. */
export interface GroupMember {
  readonly group: SubscriberGroup;
  readonly subscriber: LiveSubscriber;
  /** Index in the group's list. Only the group changes it. */
  slot: number;
}

/** The result of a flush. */
export interface Flushed {
  /** Sockets written to. */
  writes: number;
  /** Events times sockets. */
  deliveries: number;
  bytes: number;
}

/**
 * Live subscribers with equal filters. An event is added here once for all of them, and a flush writes one shared
 * buffer to each socket: the cost is that of the system call (test/bench, "1 event to 1,000 dashboards").
 */
export class SubscriberGroup {
  readonly filter: ChannelFilter;
  readonly #maxQueuedBytes: number;
  readonly #members: GroupMember[] = [];
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  /** The position before the first pending event: everything up to it has been written to every member. */
  #pendingAfter = 0;
  /** The position that was routed last. An entry of several channels arrives once for each, but is added only once. */
  routedPosition = 0;

  constructor(filter: ChannelFilter, maxQueuedBytes: number) {
    this.filter = filter;
    this.#maxQueuedBytes = maxQueuedBytes;
  }

  get size(): number {
    return this.#members.length;
  }

  get hasPending(): boolean {
    return this.#pending.length > 0;
  }

  get full(): boolean {
    return this.#pendingBytes >= MAX_PENDING_BYTES;
  }

  /** The position up to which every member was sent everything. @param edge the newest position that was routed */
  position(edge: number): number {
    return this.hasPending ? this.#pendingAfter : edge;
  }

  /** Call only while nothing is pending: the new member has already received all events up to now. */
  add(subscriber: LiveSubscriber): GroupMember {
    const member = { group: this, subscriber, slot: this.#members.length };
    this.#members.push(member);
    return member;
  }

  /** @returns false when the member was already removed */
  remove(member: GroupMember): boolean {
    if (this.#members[member.slot] !== member) return false;
    const last = this.#members.pop();
    if (last === undefined || last === member) return true;
    this.#members[member.slot] = last;
    last.slot = member.slot;
    return true;
  }

  push(frame: Buffer, position: number): void {
    if (this.#pending.length === 0) this.#pendingAfter = position - 1;
    this.#pending.push(frame);
    this.#pendingBytes += frame.length;
  }

  /**
   * Writes what is pending to every member whose socket has room, and removes the others.
   * @param onRemoved called for each member that was removed; it was sent everything up to and including `after`
   */
  flush(onRemoved: (member: GroupMember, after: number) => void): Flushed {
    const [first, ...others] = this.#pending;
    if (first === undefined) return { writes: 0, deliveries: 0, bytes: 0 };
    const events = this.#pending.length;
    const frames = others.length === 0 ? first : Buffer.concat(this.#pending, this.#pendingBytes);
    this.#pending = [];
    this.#pendingBytes = 0;
    let writes = 0;
    // Backwards, because a member that is removed is replaced by the last one.
    for (let index = this.#members.length - 1; index >= 0; index--) {
      const member = this.#members[index];
      if (member === undefined) continue;
      const { sink } = member.subscriber;
      const queued = sink.socket.writableLength;
      if (queued > 0 && queued + frames.length > this.#maxQueuedBytes) {
        this.remove(member);
        onRemoved(member, this.#pendingAfter);
      } else if (sink.open) {
        sink.socket.write(frames);
        writes++;
      }
    }
    return { writes, deliveries: writes * events, bytes: writes * frames.length };
  }
}

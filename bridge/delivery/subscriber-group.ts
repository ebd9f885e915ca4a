import type { ChannelFilter } from "./channel-filter.ts";
import type { FrameSink } from "./frame-sink.ts";

/** Pending bytes at which a group is flushed at once: much less than a socket may queue. */
const MAX_PENDING_BYTES = 64 * 1024;

/** A subscriber at the live edge. */
export interface LiveSubscriber {
  readonly sink: FrameSink;
  /** The socket is full. The subscriber was sent everything up to and including `after`, and left its group. */
  fallBehind(after: number): void;
}

export interface GroupMember {
  readonly group: SubscriberGroup;
  readonly subscriber: LiveSubscriber;
  /** Index in the group's list. Only the group changes it. */
  slot: number;
}

/**
 * Live subscribers with equal filters. A group gets each event once, and a flush writes one shared buffer to each
 * socket, so the system call is the main cost (test/bench, "1 event to 1,000 dashboards").
 */
export class SubscriberGroup {
  readonly filter: ChannelFilter;
  readonly #maxQueuedBytes: number;
  readonly #members: GroupMember[] = [];
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  /** The position before the first pending event. Every member was sent everything up to this position. */
  #pendingAfter = 0;
  /** The last routed position. Fan-out offers an entry once per channel, but the group adds the entry once. */
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

  /** The position up to which every member was sent everything. @param edge the last position that fan-out routed */
  position(edge: number): number {
    return this.hasPending ? this.#pendingAfter : edge;
  }

  /** Call this only while nothing is pending, because the new member has received all events up to now. */
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

  /** Writes the pending frames to every member whose socket has room, and removes the others: they fall behind. */
  flush(onRemoved: (member: GroupMember, after: number) => void) {
    const [first, ...others] = this.#pending;
    const after = this.#pendingAfter;
    if (first === undefined) return { after, writes: 0, deliveries: 0, bytes: 0 };
    const events = this.#pending.length;
    const frames = others.length === 0 ? first : Buffer.concat(this.#pending, this.#pendingBytes);
    this.#pending = [];
    this.#pendingBytes = 0;
    let writes = 0;
    // Backwards, because the last member replaces a removed one.
    for (let index = this.#members.length - 1; index >= 0; index--) {
      const member = this.#members[index];
      if (member === undefined) continue;
      const { sink } = member.subscriber;
      const queued = sink.socket.writableLength;
      if (queued > 0 && queued + frames.length > this.#maxQueuedBytes) {
        this.remove(member);
        onRemoved(member, after);
      } else if (sink.open) {
        sink.socket.write(frames);
        writes++;
      }
    }
    return { after, writes, deliveries: writes * events, bytes: writes * frames.length };
  }
}

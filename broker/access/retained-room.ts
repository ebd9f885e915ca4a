import { allProblem, ownerProblem, type RetainedQuota } from "../../platform/retained-quota.ts";
import type { RetainedLookup } from "./retained-topics.ts";

/** `Infinity` means no limit. */
export interface RetainedLimits {
  maxRetainedMessages: number;
  maxRetainedPerDevice: number;
  maxRetainedBytes: number;
  maxRetainedBytesPerDevice: number;
}

interface Arriving {
  owner: string | undefined;
  bytes: number;
  /** Publications of the topic that are being stored. */
  count: number;
}

/** Room for a message that is being stored. */
export interface EnteredRoom {
  readonly quota: RetainedQuota;
  /** Gives the room back, because the message is stored or refused. */
  leave(): void;
}

/**
 * Checks the limits of retained messages, by what this node knows. The limits in bytes apply to payloads. With several
 * nodes, the store checks the numbers of topics again, by the {@link RetainedQuota}.
 */
export class RetainedRoom {
  readonly #topics: () => RetainedLookup;
  readonly #limits: RetainedLimits;
  /** The backend bounds the bytes that it retains below these topics. */
  readonly #uncounted: readonly string[];
  /** By topic: the messages that were admitted and are not stored yet. A client may send many before the first is. */
  readonly #arriving = new Map<string, Arriving>();
  #arrivingBytes = 0;
  /** Messages that were delivered and not retained. */
  refused = 0;

  /** @param uncounted topics below which the bytes of retained messages do not count */
  constructor(topics: () => RetainedLookup, limits: RetainedLimits, uncounted: readonly string[] = []) {
    this.#topics = topics;
    this.#limits = limits;
    this.#uncounted = uncounted;
  }

  /** @param owner see {@link ownerTopic} @returns the room, or the exceeded limit */
  enter(owner: string | undefined, topic: string, bytes: number): EnteredRoom | { problem: string } {
    const problem = this.#problem(owner, topic, bytes);
    if (problem !== undefined) {
      this.refused++;
      return { problem };
    }
    const arriving = this.#arriving.get(topic) ?? { owner, bytes, count: 0 };
    arriving.count++;
    arriving.bytes = Math.max(arriving.bytes, bytes);
    this.#arriving.set(topic, arriving);
    this.#arrivingBytes += bytes;
    const { maxRetainedMessages: maxOfAll, maxRetainedPerDevice: maxOfOwner } = this.#limits;
    const quota: RetainedQuota = { owner, maxOfOwner, maxOfAll, exceeded: undefined };
    return {
      quota,
      leave: () => {
        if (quota.exceeded !== undefined) this.refused++;
        this.#arrivingBytes -= bytes;
        if (--arriving.count === 0) this.#arriving.delete(topic);
      },
    };
  }

  /** The exceeded limit, for the operator; undefined when there is room. */
  #problem(owner: string | undefined, topic: string, bytes: number): string | undefined {
    const topics = this.#topics();
    const { maxRetainedMessages, maxRetainedPerDevice, maxRetainedBytes, maxRetainedBytesPerDevice } = this.#limits;
    const isNew = !topics.has(topic) && !this.#arriving.has(topic);
    const added = bytes - Math.max(topics.bytesOf(topic), this.#arriving.get(topic)?.bytes ?? 0);
    // A message that replaces a larger one is always allowed, even when the limit has been lowered: it frees room.
    if (!isNew && added <= 0) return undefined;
    if (this.#isFarFromLimits(owner, bytes)) return undefined;
    const arriving = this.#arrivingBelow(undefined);
    const all = { size: topics.size + arriving.size, bytes: topics.bytes + arriving.bytes };
    for (const below of this.#uncounted) all.bytes -= topics.bytesBelow(below);
    if (isNew && all.size >= maxRetainedMessages) return allProblem(all.size, maxRetainedMessages);
    if (added > 0 && all.bytes + added > maxRetainedBytes)
      return `all retained messages together have ${all.bytes} bytes, and MAX_RETAINED_BYTES is ${maxRetainedBytes}`;
    if (owner === undefined) return undefined;
    const mine = this.#arrivingBelow(owner);
    const own = { size: topics.sizeBelow(owner) + mine.size, bytes: topics.bytesBelow(owner) + mine.bytes };
    if (isNew && own.size >= maxRetainedPerDevice) return ownerProblem(owner, own.size, maxRetainedPerDevice);
    if (added > 0 && own.bytes + added > maxRetainedBytesPerDevice)
      return `the retained messages of ${owner} have ${own.bytes} bytes, and MAX_RETAINED_BYTES_PER_DEVICE is ${maxRetainedBytesPerDevice}`;
    return undefined;
  }

  /** Counts every arriving message as a new topic of the owner. */
  #isFarFromLimits(owner: string | undefined, bytes: number): boolean {
    const topics = this.#topics();
    const { maxRetainedMessages, maxRetainedPerDevice, maxRetainedBytes, maxRetainedBytesPerDevice } = this.#limits;
    const addedBytes = this.#arrivingBytes + bytes;
    const { size } = this.#arriving;
    if (topics.size + size >= maxRetainedMessages || topics.bytes + addedBytes > maxRetainedBytes) return false;
    if (owner === undefined) return true;
    const isRoom = topics.sizeBelow(owner) + size < maxRetainedPerDevice;
    return isRoom && topics.bytesBelow(owner) + addedBytes <= maxRetainedBytesPerDevice;
  }

  /** The topics and bytes that arriving messages will add, for one owner or for all. */
  #arrivingBelow(owner: string | undefined): { size: number; bytes: number } {
    const topics = this.#topics();
    const added = { size: 0, bytes: 0 };
    for (const [topic, { owner: of, bytes }] of this.#arriving) {
      if (owner !== undefined && of !== owner) continue;
      if (!topics.has(topic)) added.size++;
      added.bytes += Math.max(0, bytes - topics.bytesOf(topic));
    }
    return added;
  }
}

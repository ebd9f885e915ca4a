import type { RetainedLookup } from "./retained-topics.ts";

/** `Infinity` means no limit. */
export interface RetainedLimits {
  maxRetainedMessages: number;
  maxRetainedPerDevice: number;
  maxRetainedBytes: number;
  maxRetainedBytesPerDevice: number;
}

/** Checks the limits of retained messages. The limits in bytes apply to payloads. */
export class RetainedRoom {
  readonly #topics: () => RetainedLookup;
  readonly #limits: RetainedLimits;

  constructor(topics: () => RetainedLookup, limits: RetainedLimits) {
    this.#topics = topics;
    this.#limits = limits;
  }

  /** The exceeded limit, for the operator; undefined when there is room. @param owner see {@link ownerTopic} */
  problem(owner: string | undefined, topic: string, bytes: number): string | undefined {
    const topics = this.#topics();
    const { maxRetainedMessages, maxRetainedPerDevice, maxRetainedBytes, maxRetainedBytesPerDevice } = this.#limits;
    if (!topics.has(topic) && topics.size >= maxRetainedMessages)
      return `there are ${topics.size} retained messages, and MAX_RETAINED_MESSAGES is ${maxRetainedMessages}`;
    const added = bytes - topics.bytesOf(topic);
    // A message that replaces a larger one is always allowed, even when the limit has been lowered: it frees room.
    if (added > 0 && topics.bytes + added > maxRetainedBytes)
      return `all retained messages together have ${topics.bytes} bytes, and MAX_RETAINED_BYTES is ${maxRetainedBytes}`;
    if (owner === undefined) return undefined;
    if (!topics.has(topic) && topics.sizeBelow(owner) >= maxRetainedPerDevice)
      return `${owner} has ${topics.sizeBelow(owner)} retained messages, and MAX_RETAINED_MESSAGES_PER_DEVICE is ${maxRetainedPerDevice}`;
    if (added > 0 && topics.bytesBelow(owner) + added > maxRetainedBytesPerDevice)
      return `the retained messages of ${owner} have ${topics.bytesBelow(owner)} bytes, and MAX_RETAINED_BYTES_PER_DEVICE is ${maxRetainedBytesPerDevice}`;
    return undefined;
  }
}

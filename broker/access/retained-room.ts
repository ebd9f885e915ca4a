import type { RetainedLookup } from "./retained-topics.ts";

/** `Infinity` is no limit. */
export interface RetainedLimits {
  maxRetainedPerDevice: number;
  maxRetainedBytes: number;
  maxRetainedBytesPerDevice: number;
}

/**
 * Whether there is room for a retained message. Its payload counts, and bounds with it the copy that dashboards are shown: the
 * bridge keeps no state that is longer than twice its payload.
 */
export class RetainedRoom {
  readonly #topics: () => RetainedLookup;
  readonly #limits: RetainedLimits;

  constructor(topics: () => RetainedLookup, limits: RetainedLimits) {
    this.#topics = topics;
    this.#limits = limits;
  }

  /**
   * @param owner the topic of the camera or service that it is below; undefined outside of them
   * @returns why not, for the operator; undefined when there is room
   */
  problem(owner: string | undefined, topic: string, bytes: number): string | undefined {
    const topics = this.#topics();
    const { maxRetainedPerDevice, maxRetainedBytes, maxRetainedBytesPerDevice } = this.#limits;
    const added = bytes - topics.bytesOf(topic);
    // One that takes the place of a larger one makes room, whatever the limits were before.
    if (added > 0 && topics.bytes + added > maxRetainedBytes)
      return `all retained messages have ${topics.bytes} bytes, and MAX_RETAINED_BYTES is ${maxRetainedBytes}`;
    if (owner === undefined) return undefined;
    if (!topics.has(topic) && topics.sizeBelow(owner) >= maxRetainedPerDevice)
      return `${owner} has ${topics.sizeBelow(owner)} retained messages, and MAX_RETAINED_MESSAGES_PER_DEVICE is ${maxRetainedPerDevice}`;
    if (added > 0 && topics.bytesBelow(owner) + added > maxRetainedBytesPerDevice)
      return `the retained messages of ${owner} have ${topics.bytesBelow(owner)} bytes, and MAX_RETAINED_BYTES_PER_DEVICE is ${maxRetainedBytesPerDevice}`;
    return undefined;
  }
}

import type { ClassicLevel } from "classic-level";
import type { Logger } from "pino";
import { KeyedQueue } from "../../platform/keyed-queue.ts";
import { type RetainedLookup, RetainedTopics } from "../access/retained-topics.ts";
import { decodePacket, encodePacket, type KeptPacket } from "../aedes/packet-codec.ts";

const PREFIX = "retained:";
const END = "retained;";
/** Messages that are read at once. */
const PAGE = 32;
export const LIMIT_REACHED = "retained message limit reached: messages on new topics are delivered but not retained";

interface RetainedMessagesOptions {
  db: ClassicLevel<string, Buffer>;
  brokerId: () => string;
  /** The number of the newest dispatched publication. Publications are dispatched in order. */
  lastDispatched: () => number;
  /** Messages on further topics are delivered but not retained. */
  maxMessages: number;
  logger: Logger;
}

/**
 * The retained messages: topics in memory, messages on disk. aedes-persistence-level reads all messages for each
 * subscribed filter (20 clients with 3 filters and 20,000 messages: 9 s).
 */
export class RetainedMessages {
  readonly #options: RetainedMessagesOptions;
  readonly #topics = new RetainedTopics();
  /** The number of the publication that changed each topic last, in this run of the broker. */
  readonly #changedBy = new Map<string, number>();
  /** For each payload that was read, the number of its publication; 0 for a publication of an earlier run. */
  readonly #readAs = new WeakMap<Uint8Array, number>();
  /** Keeps the order of each topic's writes. */
  readonly #writes = new KeyedQueue();
  #full = false;
  refused = 0;

  constructor(options: RetainedMessagesOptions) {
    this.#options = options;
  }

  get topics(): RetainedLookup {
    return this.#topics;
  }

  async load(): Promise<void> {
    for await (const [key, value] of this.#options.db.iterator({ gte: PREFIX, lt: END }))
      this.#topics.add(key.slice(PREFIX.length), value.length);
  }

  store(packet: KeptPacket): Promise<void> {
    const { db } = this.#options;
    const { topic } = packet;
    const key = PREFIX + topic;
    if (packet.payload.length === 0) {
      if (!this.#topics.has(topic)) return Promise.resolve();
      this.#topics.remove(topic);
      this.#changedBy.delete(topic);
      return this.#writes.run(topic, () => db.del(key));
    }
    if (!this.#topics.has(topic) && !this.#mayAdd(topic)) return Promise.resolve();
    this.#topics.add(topic, packet.payload.length);
    this.#changedBy.set(topic, packet.brokerCounter);
    return this.#writes.run(topic, () => this.#put(key, packet));
  }

  async #put(key: string, packet: KeptPacket): Promise<void> {
    try {
      await this.#options.db.put(key, encodePacket(packet));
    } catch (error) {
      // The write failed, so the previous message stays retained.
      const { topic, brokerCounter } = packet;
      if (this.#changedBy.get(topic) === brokerCounter) this.#changedBy.delete(topic);
      throw error;
    }
  }

  /**
   * Reads the messages for a subscription that exists already. Leaves out messages that are not dispatched yet: the
   * subscription gets them live and in order.
   */
  async *read(filters: readonly string[]): AsyncGenerator<KeptPacket> {
    const { db, brokerId, lastDispatched } = this.#options;
    const dispatched = lastDispatched();
    for (const filter of filters) {
      const topics = this.#topics.match(filter);
      for (let at = 0; at < topics.length; at += PAGE) {
        const page = topics.slice(at, at + PAGE);
        for (const value of await db.getMany(page.map((topic) => PREFIX + topic))) {
          // The message has been cleared meanwhile.
          if (value === undefined) continue;
          const packet = decodePacket(value);
          const number = packet.brokerId === brokerId() ? packet.brokerCounter : 0;
          if (number > dispatched) continue;
          this.#readAs.set(packet.payload, number);
          yield packet;
        }
      }
    }
  }

  /**
   * False if a newer publication changes the topic, even before that publication is stored. The client gets that
   * publication live.
   */
  isNewest(topic: string, payload: Uint8Array): boolean {
    const readAs = this.#readAs.get(payload);
    return readAs === undefined || (this.#topics.has(topic) && readAs === (this.#changedBy.get(topic) ?? readAs));
  }

  #mayAdd(topic: string): boolean {
    const { maxMessages, logger } = this.#options;
    if (this.#topics.size < maxMessages) {
      this.#full = false;
      return true;
    }
    this.refused++;
    if (!this.#full) {
      this.#full = true;
      logger.warn({ topic, maxMessages }, LIMIT_REACHED);
    }
    return false;
  }
}

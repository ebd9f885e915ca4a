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
  /** The number of each topic's last change since the start. */
  readonly #versions = new Map<string, number>();
  /** The version of the topic when the payload was read. */
  readonly #readAs = new WeakMap<Uint8Array, number>();
  #changes = 0;
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
      this.#versions.delete(topic);
      return this.#writes.run(topic, () => db.del(key));
    }
    if (!this.#topics.has(topic) && !this.#mayAdd(topic)) return Promise.resolve();
    this.#topics.add(topic, packet.payload.length);
    this.#versions.set(topic, ++this.#changes);
    return this.#writes.run(topic, () => db.put(key, encodePacket(packet)));
  }

  async *read(filters: readonly string[]): AsyncGenerator<KeptPacket> {
    for (const filter of filters) {
      const topics = this.#topics.match(filter);
      for (let at = 0; at < topics.length; at += PAGE) {
        const page = topics.slice(at, at + PAGE);
        // The versions are read before the messages, so that no message is older than its version.
        const versions = page.map((topic) => this.#versionOf(topic));
        const values = await this.#options.db.getMany(page.map((topic) => PREFIX + topic));
        for (const [index, value] of values.entries()) {
          // The message has been cleared meanwhile.
          if (value === undefined) continue;
          const packet = decodePacket(value);
          this.#readAs.set(packet.payload, versions[index] ?? 0);
          yield packet;
        }
      }
    }
  }

  /** False if the topic has changed since {@link read}. The client gets the change as a live message. */
  isNewest(topic: string, payload: Uint8Array): boolean {
    const version = this.#readAs.get(payload);
    return version === undefined || (version === this.#versionOf(topic) && this.#topics.has(topic));
  }

  #versionOf(topic: string): number {
    return this.#versions.get(topic) ?? 0;
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

import type { ClassicLevel } from "classic-level";
import type { Logger } from "pino";
import { KeyedQueue } from "../../platform/keyed-queue.ts";
import { type RetainedLookup, RetainedTopics } from "../access/retained-topics.ts";
import { decodePacket, encodePacket, type KeptPacket } from "../aedes/packet-codec.ts";

const PREFIX = "retained:";
const END = "retained;";
/** Messages read from the database at once. */
const PAGE = 32;

interface RetainedMessagesOptions {
  db: ClassicLevel<string, Buffer>;
  /** Topics that may have a retained message. A message on a further topic is delivered but not retained. */
  maxMessages: number;
  logger: Logger;
}

/**
 * The retained message of each topic. aedes-persistence-level reads all messages for each subscribed filter (20 clients
 * with 3 filters and 20,000 messages: 9 s). Here the topics are in memory and the messages on disk.
 */
export class RetainedMessages {
  readonly #options: RetainedMessagesOptions;
  readonly #topics = new RetainedTopics();
  /** For each topic that has changed since the start, the number of its last change. */
  readonly #versions = new Map<string, number>();
  /** For each payload that was read, the version of its topic at that time. */
  readonly #readAs = new WeakMap<Uint8Array, number>();
  #changes = 0;
  /** Serializes the writes of each topic: concurrent writes could finish in either order. */
  readonly #writes = new KeyedQueue();
  #full = false;
  /** Messages that were not retained because of the limit. */
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

  /** The retained messages that the filters match, filter by filter. */
  async *read(filters: readonly string[]): AsyncGenerator<KeptPacket> {
    for (const filter of filters) {
      const topics = this.#topics.match(filter);
      for (let at = 0; at < topics.length; at += PAGE) {
        const page = topics.slice(at, at + PAGE);
        // The versions are taken before the messages are read: a message may be newer than its version, never older.
        const versions = page.map((topic) => this.#versionOf(topic));
        const values = await this.#options.db.getMany(page.map((topic) => PREFIX + topic));
        for (const [index, value] of values.entries()) {
          // The message has been cleared in the meantime.
          if (value === undefined) continue;
          const packet = decodePacket(value);
          this.#readAs.set(packet.payload, versions[index] ?? 0);
          yield packet;
        }
      }
    }
  }

  /**
   * False for a payload of {@link read} whose topic has changed since. The client is already subscribed and gets the
   * change as a live message: the outdated message would arrive after it.
   */
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
      logger.warn(
        { topic, maxMessages },
        "retained message limit reached: messages on new topics are delivered but not retained",
      );
    }
    return false;
  }
}

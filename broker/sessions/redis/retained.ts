import type { Logger } from "pino";
import { type RetainedLookup, RetainedTopics } from "../../access/retained-topics.ts";
import { decodePacket, type KeptPacket } from "../../aedes/packet-codec.ts";
import type { RetryingConnection } from "../../cluster/redis-connection.ts";
import { KEY } from "./keys.ts";

/** Messages read at once; the reader takes them one by one. */
const PAGE = 32;
/** Messages whose sizes are asked for at once. */
const SIZES_AT_ONCE = 1000;
/** Topics whose newest change is remembered, for messages that are on their way to a new subscriber. */
const CHANGES_REMEMBERED = 10_000;

interface RedisRetainedOptions {
  reader: RetryingConnection;
  /** Topics. A message to one more is delivered, but not retained. */
  maxMessages: number;
  logger: Logger;
}

/**
 * The retained messages: one hash for all nodes, written together with the log's entry, so that what is retained is
 * what was said last. The topics are in memory, kept up to date by the log: a filter does not make Redis look at all.
 */
export class RedisRetained {
  readonly #options: RedisRetainedOptions;
  #topics = new RetainedTopics();
  #full = false;
  /** The number of the newest change of a topic, oldest first. */
  readonly #changes = new Map<string, number>();
  readonly #readAs = new WeakMap<Uint8Array, number>();
  /** Messages of this node that were not retained because there are too many. */
  refused = 0;

  constructor(options: RedisRetainedOptions) {
    this.#options = options;
  }

  get topics(): RetainedLookup {
    return this.#topics;
  }

  async load(): Promise<void> {
    const topics = new RetainedTopics();
    const names = await this.#options.reader.retry((connection) => connection.hkeys(KEY.retained));
    for (let at = 0; at < names.length; at += SIZES_AT_ONCE) {
      const page = names.slice(at, at + SIZES_AT_ONCE);
      const sizes = await this.#options.reader.retry((connection) =>
        Promise.all(page.map((topic) => connection.hstrlen(KEY.retained, topic))),
      );
      for (const [index, topic] of page.entries()) topics.add(topic, sizes[index] ?? 0);
    }
    this.#topics = topics;
  }

  /** An entry of the log says what became of the topic. */
  learn({ topic, payload }: Pick<KeptPacket, "topic" | "payload">, retain: string, position: number): void {
    if (retain !== "set" && retain !== "clear") return;
    this.#changes.delete(topic);
    this.#changes.set(topic, position);
    if (this.#changes.size > CHANGES_REMEMBERED) {
      const [oldest] = this.#changes.keys();
      if (oldest !== undefined) this.#changes.delete(oldest);
    }
    if (retain === "set") this.#topics.add(topic, payload.length);
    else if (retain === "clear" && this.#topics.has(topic)) this.#topics.remove(topic);
  }

  /** What Redis made of a message of this node's that was to be retained. */
  answered(topic: string, retain: string | undefined): void {
    const { maxMessages, logger } = this.#options;
    if (retain === "set") this.#full = false;
    if (retain !== "full") return;
    this.refused++;
    if (!this.#full)
      logger.warn({ topic, maxMessages }, "too many retained messages: new topics are delivered but not retained");
    this.#full = true;
  }

  /** The messages of the topics that the filters match, filter by filter. */
  async *read(filters: readonly string[]): AsyncGenerator<KeptPacket> {
    for (const filter of filters) {
      const topics = /[+#]/.test(filter) ? this.#topics.match(filter) : [filter];
      for (let at = 0; at < topics.length; at += PAGE) {
        const page = topics.slice(at, at + PAGE);
        const values = await this.#options.reader.retry((connection) => connection.hmgetBuffer(KEY.retained, ...page));
        // Those that are missing were cleared since they were found.
        for (const value of values) {
          if (value == null) continue;
          const packet = decodePacket(value);
          this.#readAs.set(packet.payload, packet.brokerCounter);
          yield packet;
        }
      }
    }
  }

  /**
   * False for a payload of {@link read} whose topic has changed since. Who is given it now is subscribed already and
   * got, or gets, the change as it happened: the older message would come after the newer one.
   */
  isNewest(topic: string, payload: Uint8Array): boolean {
    const readAs = this.#readAs.get(payload);
    return readAs === undefined || readAs >= (this.#changes.get(topic) ?? 0);
  }
}

import type { Logger } from "pino";
import { type RetainedLookup, RetainedTopics } from "../../access/retained-topics.ts";
import { decodePacket, type KeptPacket } from "../../aedes/packet-codec.ts";
import type { RetryingConnection } from "../../cluster/redis-connection.ts";
import { KEY } from "./keys.ts";

/** Messages read from Redis at once. */
const PAGE = 32;
/** Messages whose sizes are read at once. */
const SIZES_AT_ONCE = 1000;
/** Topics whose newest change is kept, for retained messages that are being sent to a new subscriber. */
const MAX_CHANGES = 10_000;

interface RedisRetainedOptions {
  reader: RetryingConnection;
  /** Topics that may have a retained message. A message on a further topic is delivered but not retained. */
  maxMessages: number;
  logger: Logger;
}

/**
 * The retained messages: one Redis hash for all nodes, written in one step with the log's entry, so that the retained
 * message is the last one published. The topics are in memory, kept up to date by the log: filters are matched without
 * Redis.
 */
export class RedisRetained {
  readonly #options: RedisRetainedOptions;
  #topics = new RetainedTopics();
  #full = false;
  /** By topic: the number of the topic's newest change. The oldest change comes first. */
  readonly #changes = new Map<string, number>();
  readonly #readAs = new WeakMap<Uint8Array, number>();
  /** Messages of this node that were not retained because of the limit. */
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

  /** Applies an entry of the log. */
  learn({ topic, payload }: Pick<KeptPacket, "topic" | "payload">, retain: string, position: number): void {
    if (retain !== "set" && retain !== "clear") return;
    this.#changes.delete(topic);
    this.#changes.set(topic, position);
    if (this.#changes.size > MAX_CHANGES) {
      const [oldest] = this.#changes.keys();
      if (oldest !== undefined) this.#changes.delete(oldest);
    }
    if (retain === "set") this.#topics.add(topic, payload.length);
    else if (retain === "clear" && this.#topics.has(topic)) this.#topics.remove(topic);
  }

  /** Handles the script's answer to a publication that this node has written with the retain flag. */
  answered(topic: string, retain: string | undefined): void {
    const { maxMessages, logger } = this.#options;
    if (retain === "set") this.#full = false;
    if (retain !== "full") return;
    this.refused++;
    if (!this.#full)
      logger.warn(
        { topic, maxMessages },
        "retained message limit reached: messages on new topics are delivered but not retained",
      );
    this.#full = true;
  }

  /** The retained messages that the filters match, filter by filter. */
  async *read(filters: readonly string[]): AsyncGenerator<KeptPacket> {
    for (const filter of filters) {
      const topics = /[+#]/.test(filter) ? this.#topics.match(filter) : [filter];
      for (let at = 0; at < topics.length; at += PAGE) {
        const page = topics.slice(at, at + PAGE);
        const values = await this.#options.reader.retry((connection) => connection.hmgetBuffer(KEY.retained, ...page));
        // Missing messages have been cleared in the meantime.
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
   * False for a payload of {@link read} whose topic has changed since. The client is already subscribed and gets the
   * change as a live message: the outdated message would arrive after it.
   */
  isNewest(topic: string, payload: Uint8Array): boolean {
    const readAs = this.#readAs.get(payload);
    return readAs === undefined || readAs >= (this.#changes.get(topic) ?? 0);
  }
}

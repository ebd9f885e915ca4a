import type { Logger } from "pino";
import { type RetainedLookup, RetainedTopics } from "../../access/retained-topics.ts";
import { decodePacket, type KeptPacket } from "../../aedes/packet-codec.ts";
import type { RetryingConnection } from "../../cluster/redis-connection.ts";
import { LIMIT_REACHED } from "../retained-messages.ts";
import { KEY } from "./keys.ts";

/** Messages that are read at once. */
const PAGE = 32;
/** Messages whose sizes are read at once. */
const SIZES_AT_ONCE = 1000;
/** Topics whose newest change is kept. */
const MAX_CHANGES = 10_000;

interface RedisRetainedOptions {
  reader: RetryingConnection;
  /** The position of the last log entry that was passed on. */
  position: () => number;
  /** Messages on further topics are delivered but not retained. */
  maxMessages: number;
  logger: Logger;
}

/**
 * The retained messages: one Redis hash for all nodes. A message is written in one step with its log entry, so that the
 * newest message is retained. The topics are also in memory, kept up to date by the log.
 */
export class RedisRetained {
  readonly #options: RedisRetainedOptions;
  #topics = new RetainedTopics();
  #full = false;
  /** The number of each topic's newest change, oldest first. */
  readonly #changes = new Map<string, number>();
  readonly #readAs = new WeakMap<Uint8Array, number>();
  /** Counts only messages of this node. */
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

  /** Handles the script's answer to a retained publication of this node. */
  answered(topic: string, retain: string | undefined): void {
    const { maxMessages, logger } = this.#options;
    if (retain === "set") this.#full = false;
    if (retain !== "full") return;
    this.refused++;
    if (!this.#full) logger.warn({ topic, maxMessages }, LIMIT_REACHED);
    this.#full = true;
  }

  /**
   * Reads the messages for a subscription that exists already. Leaves out messages that the log has not passed on yet:
   * the subscription gets them live and in order.
   */
  async *read(filters: readonly string[]): AsyncGenerator<KeptPacket> {
    const passedOn = this.#options.position();
    for (const filter of filters) {
      const topics = /[+#]/.test(filter) ? this.#topics.match(filter) : [filter];
      for (let at = 0; at < topics.length; at += PAGE) {
        const page = topics.slice(at, at + PAGE);
        const values = await this.#options.reader.retry((connection) => connection.hmgetBuffer(KEY.retained, ...page));
        for (const value of values) {
          // The message has been cleared meanwhile.
          if (value == null) continue;
          const packet = decodePacket(value);
          if (packet.brokerCounter > passedOn) continue;
          this.#readAs.set(packet.payload, packet.brokerCounter);
          yield packet;
        }
      }
    }
  }

  /** False if the topic has changed since {@link read}. The client gets the change as a live message. */
  isNewest(topic: string, payload: Uint8Array): boolean {
    const readAs = this.#readAs.get(payload);
    return readAs === undefined || readAs >= (this.#changes.get(topic) ?? 0);
  }
}

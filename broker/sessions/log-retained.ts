import type { Logger } from "pino";
import { messageOf } from "../../platform/errors.ts";
import {
  hasExpired,
  type LoggedPublication,
  type PublicationLog,
  type RetainedPublication,
  type RetainedTopic,
  retainedSize,
} from "../../platform/publication-log.ts";
import { type RetainedLookup, RetainedTopics } from "../access/retained-topics.ts";
import { RetainedExpiry } from "./retained-expiry.ts";

/** Messages that are read at once. */
const PAGE = 32;

type RetainedLog = Pick<PublicationLog, "head" | "follow" | "retainedTopics" | "retained" | "removeRetained">;

interface LogRetainedOptions {
  log: RetainedLog;
  /** Milliseconds since 1970. */
  now: () => number;
  logger: Logger;
}

/** The retained messages: topics and versions in memory, messages in the journal's store. */
export class LogRetained {
  readonly #log: RetainedLog;
  readonly #now: () => number;
  readonly #expiry: RetainedExpiry;
  #topics = new RetainedTopics();
  /** The position of each topic's message. */
  #versions = new Map<string, number>();
  /** No known message is above this position. */
  #newest = 0;
  #stopFollowing = () => {};
  /** The position of the message with this payload. */
  readonly #readAs = new WeakMap<Uint8Array, number>();
  readonly refused = 0;

  constructor({ log, now, logger }: LogRetainedOptions) {
    this.#log = log;
    this.#now = now;
    this.#expiry = new RetainedExpiry({
      now,
      remove: (messages) => this.#remove(messages),
      onFailed: (error) => logger.debug({ why: messageOf(error) }, "expired retained messages not removed, retrying"),
    });
  }

  get topics(): RetainedLookup {
    return this.#topics;
  }

  /**
   * A subscription of this moment gets publications above this position live. Messages that were stored before a repair
   * may be above the head of the log: such a message does not come live.
   */
  get newest(): number {
    return this.#newest;
  }

  /** Loads the topics, or loads them again. */
  async load(): Promise<void> {
    this.#stopFollowing();
    const topics = new RetainedTopics();
    const versions = new Map<string, number>();
    // Other nodes may publish meanwhile.
    const meanwhile: LoggedPublication[] = [];
    this.#stopFollowing = this.#log.follow((publications) => {
      for (const publication of publications) {
        if (!publication.retain) continue;
        meanwhile.push(publication);
        this.#note(publication);
      }
    });
    let newest = 0;
    const expiring: RetainedTopic[] = [];
    for await (const message of this.#log.retainedTopics()) {
      const { topic, bytes, position, expiresAt } = message;
      topics.add(topic, bytes);
      versions.set(topic, position);
      newest = Math.max(newest, position);
      if (expiresAt !== undefined) expiring.push(message);
    }
    this.#stopFollowing();
    this.#expiry.clear();
    for (const { topic, expiresAt } of expiring) this.#expiry.set(topic, expiresAt);
    this.#topics = topics;
    this.#versions = versions;
    this.#newest = Math.max(newest, this.#log.head);
    for (const publication of meanwhile) this.#note(publication);
    this.#stopFollowing = this.#log.follow((publications, head) => {
      for (const publication of publications) if (publication.retain) this.#note(publication);
      if (head > this.#newest) this.#newest = head;
    });
  }

  async *read(filters: readonly string[]): AsyncGenerator<RetainedPublication> {
    for (const filter of filters) {
      const topics = this.#topics.match(filter);
      for (let at = 0; at < topics.length; at += PAGE) {
        for (const message of await this.#log.retained(topics.slice(at, at + PAGE))) {
          // The message has been cleared meanwhile, or has expired.
          if (message === undefined || hasExpired(message, this.#now)) continue;
          this.#readAs.set(message.payload, message.position);
          yield message;
        }
      }
    }
  }

  /**
   * The position of a message that {@link read} has returned. Undefined if the topic has changed since: the client gets
   * the change as a live message.
   */
  positionOf(topic: string, payload: Uint8Array): number | undefined {
    const position = this.#readAs.get(payload);
    return position === this.#versions.get(topic) ? position : undefined;
  }

  /** Removes nothing from now on. */
  stop(): void {
    this.#expiry.clear();
  }

  #note({ topic, payload, properties, position, expiresAt }: LoggedPublication): void {
    // The message may be older than the one that was loaded.
    if (position < (this.#versions.get(topic) ?? 0)) return;
    this.#expiry.set(topic, payload.length > 0 ? expiresAt : undefined);
    if (payload.length > 0) {
      this.#topics.add(topic, retainedSize(payload, properties));
      this.#versions.set(topic, position);
    } else this.#forget(topic);
  }

  #forget(topic: string): void {
    if (this.#versions.delete(topic)) this.#topics.remove(topic);
  }

  /** Removes the messages of the topics, which have expired. @throws {StoreUnavailableError} they take room until later */
  async #remove(topics: readonly string[]): Promise<void> {
    const messages: { topic: string; position: number }[] = [];
    for (const topic of topics) {
      const position = this.#versions.get(topic);
      if (position !== undefined) messages.push({ topic, position });
    }
    await this.#log.removeRetained(messages);
    // A newer message may have arrived meanwhile.
    for (const { topic, position } of messages) if (this.#versions.get(topic) === position) this.#forget(topic);
  }
}

import type { LoggedPublication, PublicationLog, RetainedPublication } from "../../platform/publication-log.ts";
import { type RetainedLookup, RetainedTopics } from "../access/retained-topics.ts";

/** Messages that are read at once. */
const PAGE = 32;

type RetainedLog = Pick<PublicationLog, "head" | "follow" | "retainedTopics" | "retained">;

/** The retained messages: topics and versions in memory, messages in the journal's store. */
export class LogRetained {
  readonly #log: RetainedLog;
  #topics = new RetainedTopics();
  /** The position of each topic's message. */
  #versions = new Map<string, number>();
  /** No known message is above this position. */
  #newest = 0;
  #stopFollowing = () => {};
  /** The position of the message with this payload. */
  readonly #readAs = new WeakMap<Uint8Array, number>();
  readonly refused = 0;

  constructor(log: RetainedLog) {
    this.#log = log;
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
    for await (const { topic, bytes, position } of this.#log.retainedTopics()) {
      topics.add(topic, bytes);
      versions.set(topic, position);
      newest = Math.max(newest, position);
    }
    this.#stopFollowing();
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
          // The message has been cleared meanwhile.
          if (message === undefined) continue;
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

  #note({ topic, payload, position }: LoggedPublication): void {
    // The message may be older than the one that was loaded.
    if (position < (this.#versions.get(topic) ?? 0)) return;
    if (payload.length > 0) this.#add(topic, payload.length, position);
    else if (this.#versions.has(topic)) {
      this.#topics.remove(topic);
      this.#versions.delete(topic);
    }
  }

  #add(topic: string, bytes: number, position: number): void {
    this.#topics.add(topic, bytes);
    this.#versions.set(topic, position);
  }
}

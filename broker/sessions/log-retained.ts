import type { LoggedPublication, PublicationLog, RetainedPublication } from "../../platform/publication-log.ts";
import { type RetainedLookup, RetainedTopics } from "../access/retained-topics.ts";

/** Messages that are read at once. */
const PAGE = 32;

/** The retained messages: topics and versions in memory, messages in the journal's store. */
export class LogRetained {
  readonly #log: PublicationLog;
  #topics = new RetainedTopics();
  /** The position of each topic's message. */
  #versions = new Map<string, number>();
  #stopFollowing = () => {};
  /** The position of the message with this payload. */
  readonly #readAs = new WeakMap<Uint8Array, number>();
  readonly refused = 0;

  constructor(log: PublicationLog) {
    this.#log = log;
  }

  get topics(): RetainedLookup {
    return this.#topics;
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
    for await (const { topic, bytes, position } of this.#log.retainedTopics()) {
      topics.add(topic, bytes);
      versions.set(topic, position);
    }
    this.#stopFollowing();
    this.#topics = topics;
    this.#versions = versions;
    for (const publication of meanwhile) this.#note(publication);
    this.#stopFollowing = this.#log.follow((publications) => {
      for (const publication of publications) if (publication.retain) this.#note(publication);
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

  /** False if the topic has changed since {@link read}. The client gets the change as a live message. */
  isNewest(topic: string, payload: Uint8Array): boolean {
    const position = this.#readAs.get(payload);
    return position === undefined || position === this.#versions.get(topic);
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

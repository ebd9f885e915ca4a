import { sharedFilterOf } from "../../contract/shares.ts";
import { KeyedQueue } from "../../platform/keyed-queue.ts";
import type { FilterOptions } from "../access/filter-options.ts";
import type { LogSessions } from "./log-sessions.ts";

/** Changes the filters of sessions, and answers when the changes are durable. */
export class FilterChanges {
  readonly #sessions: LogSessions;
  readonly #assertWriter: (key: string) => void;
  /** Serializes the answers to SUBSCRIBE and UNSUBSCRIBE of each session. */
  readonly #answers = new KeyedQueue();

  /** @param assertWriter throws when another node writes the session's row */
  constructor(sessions: LogSessions, assertWriter: (key: string) => void) {
    this.#sessions = sessions;
    this.#assertWriter = assertWriter;
  }

  /** See `BrokerStorage.subscribe`. */
  add(key: string, filter: string, options: FilterOptions): Promise<void> {
    const session = this.#sessions.get(key);
    if (session !== undefined) this.#sessions.subscribe(session, filter, options);
    return this.#durable(key);
  }

  /** @returns undefined when there is nothing to remove */
  remove(key: string, filters: readonly string[]): Promise<void> | undefined {
    const session = this.#sessions.get(key);
    const stored = filters.filter((filter) => session?.cursor.filters.has(filter));
    if (session === undefined || stored.length === 0) return undefined;
    for (const filter of stored) {
      this.#sessions.unsubscribe(session, filter);
      const shared = sharedFilterOf(filter);
      if (shared !== undefined) this.#sessions.shares.groups.unsubscribe(key, session.owner.identity, shared);
    }
    return this.#durable(key);
  }

  /** Resolves when the session's filters are durable, in the order of the calls. */
  #durable(key: string): Promise<void> {
    const flushed = this.#sessions.store(key);
    // An earlier call may fail first.
    flushed.catch(() => {});
    return this.#answers.run(key, async () => {
      await flushed;
      if (this.#sessions.get(key) !== undefined) this.#assertWriter(key);
    });
  }
}

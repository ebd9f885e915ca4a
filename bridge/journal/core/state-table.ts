import type { Logger } from "pino";
import type { Entry, StateEntry } from "../journal.ts";
import { keepingChannels } from "./channels.ts";
import type { JournalLimits } from "./limits.ts";

/** The state changes of one write: the new value of each topic; undefined clears the state. */
export type StateChanges = Map<string, StateEntry | undefined>;

/** The newest value of each retained topic, in memory and in the store. It outlives its entry. */
export class StateTable {
  readonly #topics = new Map<string, StateEntry>();
  /** The topics of each channel, and of `NO_CHANNEL`, in the order of their last change. */
  readonly #channels = new Map<string, Map<string, StateEntry>>();
  readonly #maxTopics: number;
  readonly #maxLoadedChars: number;
  #loadedChars = 0;
  /** The number of topics that were not loaded. Their values stay in the store, hidden until the next publication. */
  skipped = 0;

  constructor({ maxStateTopics, maxLoadedStateChars }: Pick<JournalLimits, "maxStateTopics" | "maxLoadedStateChars">) {
    this.#maxTopics = maxStateTopics;
    this.#maxLoadedChars = maxLoadedStateChars;
  }

  get size(): number {
    return this.#topics.size;
  }

  get(topic: string): StateEntry | undefined {
    return this.#topics.get(topic);
  }

  snapshot(channel: string): readonly StateEntry[] {
    return [...(this.#channels.get(channel)?.values() ?? [])];
  }

  /** Adds the entry's state change, if any, to `changes`. @returns false when the table is full */
  note(entry: Entry, changes: StateChanges): boolean {
    const { topic } = entry;
    if (entry.state === "set" && !changes.has(topic) && !this.#topics.has(topic) && !this.#hasRoom(changes))
      return false;
    // Deleted first, so that the changes stay in order of position.
    changes.delete(topic);
    changes.set(topic, entry.state === "set" ? stateOf(entry) : undefined);
    return true;
  }

  apply(changes: StateChanges): void {
    for (const [topic, entry] of changes) {
      const before = this.#topics.get(topic);
      if (before !== undefined) this.#remove(before);
      if (entry !== undefined) this.#add(entry);
    }
  }

  /** Adds the stored values. Of several values of a topic, the newest one counts. */
  load(entries: StateEntry[]): void {
    this.apply(new Map(entries.sort((a, b) => a.position - b.position).map((entry) => [entry.topic, entry])));
  }

  /** Whether the value fits into the memory limit of the start. Counts the value as loaded or as skipped. */
  fits(value: { length: number }): boolean {
    if (this.#loadedChars + value.length > this.#maxLoadedChars) {
      this.skipped++;
      return false;
    }
    this.#loadedChars += value.length;
    return true;
  }

  #hasRoom(changes: StateChanges): boolean {
    if (this.#topics.size + changes.size < this.#maxTopics) return true;
    let size = this.#topics.size;
    for (const [topic, entry] of changes) size += Number(entry !== undefined) - Number(this.#topics.has(topic));
    return size < this.#maxTopics;
  }

  #add(entry: StateEntry): void {
    this.#topics.set(entry.topic, entry);
    for (const channel of keepingChannels(entry.channels)) {
      const topics = this.#channels.get(channel) ?? new Map<string, StateEntry>();
      this.#channels.set(channel, topics.set(entry.topic, entry));
    }
  }

  #remove(entry: StateEntry): void {
    this.#topics.delete(entry.topic);
    for (const channel of keepingChannels(entry.channels)) {
      const topics = this.#channels.get(channel);
      topics?.delete(entry.topic);
      if (topics?.size === 0) this.#channels.delete(channel);
    }
  }
}

function stateOf({ position, topic, channels, camera, body, acceptedAt }: Entry): StateEntry {
  return { position, topic, channels, camera, body, acceptedAt };
}

/** Logs that some state was not loaded. Starting without it is better than running out of memory. */
export function warnOfSkippedStates({ skipped }: StateTable, logger: Logger): void {
  if (skipped === 0) return;
  logger.error(
    { skipped },
    "state of some retained topics exceeds the memory limit and is hidden until the topics are published again (see MAX_RETAINED_BYTES)",
  );
}

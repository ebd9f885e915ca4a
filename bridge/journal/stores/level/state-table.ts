import type { Database, WriteSet } from "../../../../platform/level/write-set.ts";
import type { Entry, StateEntry } from "../../journal.ts";
import { rowsOf, stateKey } from "./keys.ts";

type StateHeader = [position: number, acceptedAt: number, camera: string | 0, channels: readonly string[]];

/** What one write does to the state: the new value of each topic, undefined for none. */
export type StateChanges = Map<string, StateEntry | undefined>;

/** The last value of each retained topic, in memory and in the store. It outlives the retention of its entry. */
export class StateTable {
  readonly #topics = new Map<string, StateEntry>();
  /** The topics of each channel, those that changed last at the end. */
  readonly #channels = new Map<string, Map<string, StateEntry>>();
  readonly #maxTopics: number;
  readonly #maxLoadedChars: number;
  #loadedChars = 0;
  #skipped = 0;

  constructor({ maxStateTopics, maxLoadedStateChars }: { maxStateTopics: number; maxLoadedStateChars: number }) {
    this.#maxTopics = maxStateTopics;
    this.#maxLoadedChars = maxLoadedStateChars;
  }

  /** Topics whose last value was not loaded: it stays in the store and is not shown until the topic is published anew. */
  get skipped(): number {
    return this.#skipped;
  }

  get size(): number {
    return this.#topics.size;
  }

  get(topic: string): StateEntry | undefined {
    return this.#topics.get(topic);
  }

  /** In order of position. */
  snapshot(channel: string): readonly StateEntry[] {
    return [...(this.#channels.get(channel)?.values() ?? [])];
  }

  /** Notes what an entry changes; false when there is no room for one topic more. */
  note(entry: Entry, changes: StateChanges): boolean {
    const { topic } = entry;
    if (entry.state === "set" && !changes.has(topic) && !this.#topics.has(topic) && !this.#hasRoom(changes))
      return false;
    // Moved to the end, so that the changes are in order of position.
    changes.delete(topic);
    changes.set(topic, entry.state === "set" ? stateOf(entry) : undefined);
    return true;
  }

  put(changes: StateChanges, set: WriteSet): void {
    for (const [topic, entry] of changes) {
      if (entry === undefined) set.del(stateKey(topic));
      else set.put(stateKey(topic), stateRow(entry));
    }
  }

  /** The changes are durable. */
  apply(changes: StateChanges): void {
    for (const [topic, entry] of changes) {
      const before = this.#topics.get(topic);
      if (before !== undefined) this.#remove(before);
      if (entry !== undefined) this.#add(entry);
    }
  }

  /** The row of a topic as memory has it, for a store that is in doubt; undefined when there is none. */
  row(key: string): string | undefined {
    const entry = this.#topics.get(key.slice(1));
    return entry === undefined ? undefined : stateRow(entry);
  }

  async load(db: Database): Promise<void> {
    const entries: StateEntry[] = [];
    for await (const [key, value] of db.iterator(rowsOf("s"))) {
      if (!this.fits(value)) continue;
      const end = value.indexOf("\n");
      const [position, acceptedAt, camera, channels]: StateHeader = JSON.parse(value.slice(0, end));
      const body = value.slice(end + 1);
      entries.push({ position, topic: key.slice(1), channels, camera: camera || undefined, body, acceptedAt });
    }
    entries.sort((a, b) => a.position - b.position);
    for (const entry of entries) this.#add(entry);
  }

  /** Whether one more value is to be loaded; that it fits is noted. A start must not need more memory than there is. */
  fits(value: { length: number }): boolean {
    if (this.#loadedChars + value.length > this.#maxLoadedChars) {
      this.#skipped++;
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
    for (const channel of entry.channels) {
      let topics = this.#channels.get(channel);
      if (topics === undefined) {
        topics = new Map();
        this.#channels.set(channel, topics);
      }
      topics.set(entry.topic, entry);
    }
  }

  #remove(entry: StateEntry): void {
    this.#topics.delete(entry.topic);
    for (const channel of entry.channels) {
      const topics = this.#channels.get(channel);
      topics?.delete(entry.topic);
      if (topics?.size === 0) this.#channels.delete(channel);
    }
  }
}

function stateOf({ position, topic, channels, camera, body, acceptedAt }: Entry): StateEntry {
  return { position, topic, channels, camera, body, acceptedAt };
}

function stateRow({ position, acceptedAt, camera, channels, body }: StateEntry): string {
  const header: StateHeader = [position, acceptedAt, camera ?? 0, channels];
  return `${JSON.stringify(header)}\n${body}`;
}

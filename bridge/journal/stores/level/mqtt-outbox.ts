import type { Database, WriteSet } from "../../../../platform/level/write-set.ts";
import type { Undelivered } from "../../journal.ts";
import { partlyDeliveredKey, positionOfKey, undeliveredKey } from "./keys.ts";
import { readPublications } from "./publications.ts";

/** The publications of one write that MQTT subscribers are still to get. */
interface Group {
  /** The newest position of the write: the name of its row. */
  readonly last: number;
  readonly open: Set<number>;
  readonly size: number;
  /** How many were open when that was last written. */
  storedPending: number;
}

interface ReadableStore {
  read<Result>(read: (db: Database) => Promise<Result>): Promise<Result>;
}

/** Rows read at a time: one may be as large as a whole write. */
const ROWS_PER_READ = 4;

/**
 * Remembers what is to be emitted. A write's publications are one row, which goes when the last of them was emitted;
 * which of them were is written only when there is time to. So a crash in between emits some of them again.
 */
export class MqttOutbox {
  /** Of this run, in order of position; those before `#start` are through. */
  #groups: Group[] = [];
  #start = 0;
  /** Of earlier runs, as far as they were read. */
  readonly #earlier = new Map<number, Group>();
  readonly #earlierOf = new Map<number, Group>();
  readonly #maxGroups: number;

  constructor(maxGroups: number) {
    this.#maxGroups = maxGroups;
  }

  /** The publications of a write are durable. @returns false when older ones were given up, until the next start */
  add(last: number, positions: readonly number[]): boolean {
    this.#groups.push({ last, open: new Set(positions), size: positions.length, storedPending: positions.length });
    while (this.#start < this.#groups.length && this.#groups[this.#start]?.open.size === 0) this.#start++;
    const hasRoom = this.#groups.length - this.#start <= this.#maxGroups;
    if (!hasRoom) this.#start++;
    if (this.#start * 2 > this.#groups.length) {
      this.#groups = this.#groups.slice(this.#start);
      this.#start = 0;
    }
    return hasRoom;
  }

  /** @returns whether there is something to write */
  delivered(position: number, set: WriteSet): boolean {
    const group = this.#earlierOf.get(position) ?? this.#groupOf(position);
    if (group?.open.delete(position) !== true) return false;
    this.#earlierOf.delete(position);
    if (group.open.size === 0) {
      set.del(undeliveredKey(group.last));
      if (group.storedPending !== group.size) set.del(partlyDeliveredKey(group.last));
    }
    return true;
  }

  /** Writes what is still open of rows that are done in part. */
  putOpen(set: WriteSet): void {
    for (const group of this.#earlier.values()) putOpen(group, set);
    for (let index = this.#start; index < this.#groups.length; index++) {
      const group = this.#groups[index];
      if (group !== undefined) putOpen(group, set);
    }
  }

  /** What earlier runs left, up to and with a position, in order. */
  async *undelivered(store: ReadableStore, until: number): AsyncGenerator<Undelivered> {
    let after = 0;
    for (;;) {
      const range = { gt: undeliveredKey(after), lte: undeliveredKey(until), limit: ROWS_PER_READ };
      const rows = await store.read((db) => db.iterator<string, Uint8Array>({ ...range, valueEncoding: "view" }).all());
      for (const [key, bytes] of rows) {
        after = positionOfKey(key);
        const group = this.#earlier.get(after);
        const publications = readPublications(bytes);
        const open = group?.open ?? (await this.#register(store, after, publications));
        for (const publication of publications) if (open.has(publication.position)) yield publication;
      }
      if (rows.length < ROWS_PER_READ) return;
    }
  }

  async #register(store: ReadableStore, last: number, publications: readonly Undelivered[]): Promise<Set<number>> {
    const row = await store.read((db) => db.get(partlyDeliveredKey(last)));
    const positions: number[] = row === undefined ? publications.map(({ position }) => position) : JSON.parse(row);
    const open = new Set(positions);
    const group: Group = { last, open, size: publications.length, storedPending: open.size };
    this.#earlier.set(last, group);
    for (const position of open) this.#earlierOf.set(position, group);
    return open;
  }

  #groupOf(position: number): Group | undefined {
    // Nearly always one of the oldest few that are open.
    let low = this.#start;
    let high = this.#groups.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#groups[middle]?.last ?? 0) < position) low = middle + 1;
      else high = middle;
    }
    return this.#groups[low];
  }
}

function putOpen(group: Group, set: WriteSet): void {
  if (group.open.size === 0 || group.open.size === group.storedPending) return;
  group.storedPending = group.open.size;
  set.put(partlyDeliveredKey(group.last), JSON.stringify([...group.open]));
}

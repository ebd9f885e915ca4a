import type { Database, WriteSet } from "../../../../platform/level/write-set.ts";
import type { Undelivered } from "../../journal.ts";
import { partlyDeliveredKey, positionOfKey, undeliveredKey } from "./keys.ts";
import { readPublications } from "./publications.ts";

/** The undelivered publications of one write. */
interface Group {
  /** The newest position of the write. It is in the key of the row. */
  readonly last: number;
  /** The positions that are not delivered yet. */
  readonly pending: Set<number>;
  readonly size: number;
  /** The number of pending positions in the stored row. */
  storedPending: number;
}

interface ReadableStore {
  read<Result>(read: (db: Database) => Promise<Result>): Promise<Result>;
}

/** The number of rows per read: one row may be as large as a whole write. */
const ROWS_PER_READ = 4;

/**
 * Tracks which publications the MQTT subscribers have not received yet. The publications of one write are one row. The
 * row is deleted once all of them are delivered. A partly delivered row is updated with a delay, so a crash meanwhile
 * causes some publications to be delivered again.
 */
export class MqttOutbox {
  /** The groups of this run, in order of position. Those before `#start` are delivered or given up. */
  #groups: Group[] = [];
  #start = 0;
  /** Groups of earlier runs that this run has read from the store, by their newest position. */
  readonly #earlier = new Map<number, Group>();
  /** The same groups, by pending position. */
  readonly #earlierByPosition = new Map<number, Group>();
  readonly #maxGroups: number;

  constructor(maxGroups: number) {
    this.#maxGroups = maxGroups;
  }

  /**
   * Adds the publications of a durable write.
   * @returns false when the oldest group was given up because there are too many: it is delivered again after a restart
   */
  add(last: number, positions: readonly number[]): boolean {
    this.#groups.push({ last, pending: new Set(positions), size: positions.length, storedPending: positions.length });
    while (this.#start < this.#groups.length && this.#groups[this.#start]?.pending.size === 0) this.#start++;
    const hasRoom = this.#groups.length - this.#start <= this.#maxGroups;
    if (!hasRoom) this.#start++;
    if (this.#start * 2 > this.#groups.length) {
      this.#groups = this.#groups.slice(this.#start);
      this.#start = 0;
    }
    return hasRoom;
  }

  /**
   * Notes a delivery, and deletes the row of the group if this was the last delivery of the group.
   * @returns whether the store must be written
   */
  delivered(position: number, set: WriteSet): boolean {
    const group = this.#earlierByPosition.get(position) ?? this.#groupOf(position);
    if (group?.pending.delete(position) !== true) return false;
    this.#earlierByPosition.delete(position);
    if (group.pending.size === 0) {
      set.del(undeliveredKey(group.last));
      if (group.storedPending !== group.size) set.del(partlyDeliveredKey(group.last));
    }
    return true;
  }

  /** Adds rows with the pending positions of partly delivered groups. */
  putPending(set: WriteSet): void {
    for (const group of this.#earlier.values()) putPending(group, set);
    for (let index = this.#start; index < this.#groups.length; index++) {
      const group = this.#groups[index];
      if (group !== undefined) putPending(group, set);
    }
  }

  /** The publications that earlier runs did not deliver, in order, up to and including the position `until`. */
  async *undelivered(store: ReadableStore, until: number): AsyncGenerator<Undelivered> {
    let after = 0;
    for (;;) {
      const range = { gt: undeliveredKey(after), lte: undeliveredKey(until), limit: ROWS_PER_READ };
      const rows = await store.read((db) => db.iterator<string, Uint8Array>({ ...range, valueEncoding: "view" }).all());
      for (const [key, bytes] of rows) {
        after = positionOfKey(key);
        const group = this.#earlier.get(after);
        const publications = readPublications(bytes);
        const pending = group?.pending ?? (await this.#addEarlier(store, after, publications));
        for (const publication of publications) if (pending.has(publication.position)) yield publication;
      }
      if (rows.length < ROWS_PER_READ) return;
    }
  }

  async #addEarlier(store: ReadableStore, last: number, publications: readonly Undelivered[]): Promise<Set<number>> {
    const row = await store.read((db) => db.get(partlyDeliveredKey(last)));
    const positions: number[] = row === undefined ? publications.map(({ position }) => position) : JSON.parse(row);
    const pending = new Set(positions);
    const group: Group = { last, pending, size: publications.length, storedPending: pending.size };
    this.#earlier.set(last, group);
    for (const position of pending) this.#earlierByPosition.set(position, group);
    return pending;
  }

  #groupOf(position: number): Group | undefined {
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

function putPending(group: Group, set: WriteSet): void {
  if (group.pending.size === 0 || group.pending.size === group.storedPending) return;
  group.storedPending = group.pending.size;
  set.put(partlyDeliveredKey(group.last), JSON.stringify([...group.pending]));
}

import type { Store } from "../../../../platform/level/store.ts";
import type { WriteSet } from "../../../../platform/level/write-set.ts";
import type { Undelivered } from "../../journal.ts";
import { type OutboxGroup, OutboxGroups } from "../outbox-groups.ts";
import { partlyDeliveredKey, positionOfKey, publicationsKey } from "./keys.ts";
import { readPublications } from "./publications.ts";

/** The number of rows per read: one row may be as large as a whole write. */
const ROWS_PER_READ = 4;

/**
 * Tracks which publications the MQTT subscribers have not received yet. The publications of one write are one row. The
 * row is deleted once all its publications are delivered. A partly delivered row is updated with a delay, so after a
 * crash some publications are delivered again.
 */
export class MqttOutbox {
  readonly #groups: OutboxGroups<OutboxGroup>;
  /** Groups of earlier runs that this run has read from the store, by their newest position. */
  readonly #earlier = new Map<number, OutboxGroup>();

  constructor(maxGroups: number) {
    this.#groups = new OutboxGroups(maxGroups);
  }

  /** @returns false when the oldest write was given up: it is delivered again after a restart */
  add(last: number, publications: readonly { position: number }[]): boolean {
    const { length } = publications;
    const pending = new Set(publications.map(({ position }) => position));
    return this.#groups.add({ last, pending, size: length, storedPending: length });
  }

  /** Notes a delivery, and deletes the row of a delivered group. @returns whether the store must be written */
  delivered(position: number, set: WriteSet): boolean {
    const group = this.#groups.delivered(position);
    if (group === undefined) return false;
    if (group.pending.size === 0) {
      set.del(publicationsKey(group.last));
      if (group.storedPending !== group.size) set.del(partlyDeliveredKey(group.last));
    }
    return true;
  }

  putPending(set: WriteSet): void {
    for (const group of this.#earlier.values()) putPending(group, set);
    for (const group of this.#groups.current()) putPending(group, set);
  }

  /** The publications that earlier runs did not deliver, in order, up to and including the position `until`. */
  async *undelivered(store: Pick<Store, "read">, until: number): AsyncGenerator<Undelivered> {
    let after = 0;
    for (;;) {
      const range = { gt: publicationsKey(after), lte: publicationsKey(until), limit: ROWS_PER_READ };
      const rows = await store.read((db) => db.iterator<string, Uint8Array>({ ...range, valueEncoding: "view" }).all());
      for (const [key, bytes] of rows) {
        after = positionOfKey(key);
        const group = this.#earlier.get(after);
        const { publications } = readPublications(bytes);
        const pending = group?.pending ?? (await this.#addEarlier(store, after, publications));
        for (const publication of publications) if (pending.has(publication.position)) yield publication;
      }
      if (rows.length === 0) return;
    }
  }

  async #addEarlier(
    store: Pick<Store, "read">,
    last: number,
    publications: readonly Undelivered[],
  ): Promise<Set<number>> {
    const row = await store.read((db) => db.get(partlyDeliveredKey(last)));
    const positions: number[] = row === undefined ? publications.map(({ position }) => position) : JSON.parse(row);
    const pending = new Set(positions);
    const group = { last, pending, size: publications.length, storedPending: pending.size };
    this.#earlier.set(last, group);
    this.#groups.addStored(group);
    return pending;
  }
}

function putPending(group: OutboxGroup, set: WriteSet): void {
  if (group.pending.size === 0 || group.pending.size === group.storedPending) return;
  group.storedPending = group.pending.size;
  set.put(partlyDeliveredKey(group.last), JSON.stringify([...group.pending]));
}

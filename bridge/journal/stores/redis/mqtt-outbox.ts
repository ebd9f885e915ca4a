import type { Undelivered } from "../../journal.ts";
import { type OutboxGroup, OutboxGroups } from "../outbox-groups.ts";
import type { Connection } from "./connection.ts";
import type { JournalKeys } from "./keys.ts";
import { decodePublications } from "./publications.ts";

/** The undelivered publications of one batch. */
interface Group extends OutboxGroup {
  readonly run: string;
  /** The position before the batch. It is the name of the row. */
  readonly base: number;
}

/** The number of rows per read: one row may be as large as a whole batch. */
const ROWS_PER_READ = 4;
const ROWS_PER_WRITE = 500;

interface MqttOutboxOptions {
  run: string;
  keys: JournalKeys;
  maxBatches: number;
  /** Whether the topic's state changed after `position`. @param isClear the message at `position` clears the state */
  isSuperseded: (topic: string, position: number, isClear: boolean) => boolean;
}

/**
 * Tracks which publications the MQTT subscribers have not received yet. The publications of one batch are one row. The
 * row belongs to the run that appended the batch, and is deleted once all its publications are delivered. A partly
 * delivered row is updated with a delay. When a run ends, another run delivers the rest of its rows. So after a crash,
 * no publication is lost, and some are delivered again.
 */
export class MqttOutbox {
  readonly #options: MqttOutboxOptions;
  readonly #groups: OutboxGroups<Group>;
  /** Groups that were read from Redis, by run and base: those of other runs, and those of orphans. */
  readonly #earlier = new Map<string, Group>();
  /** The other runs whose rows this run delivers. */
  readonly claimedRuns = new Set<string>();
  /** The bases of batches of this run that are in the log although their appends were rejected. */
  readonly orphans = new Set<number>();
  /** Delivered groups whose rows must be deleted. */
  #done: Group[] = [];

  constructor(options: MqttOutboxOptions) {
    this.#options = options;
    this.#groups = new OutboxGroups(options.maxBatches);
  }

  /** @returns false if the oldest batch was removed for lack of room: that batch is delivered again after this run */
  add(base: number, places: readonly number[]): boolean {
    const pending = new Set<number>();
    for (const place of places) pending.add(base + place);
    const { length } = places;
    const last = base + (places.at(-1) ?? 0);
    return this.#groups.add({ run: this.#options.run, base, last, size: length, pending, storedPending: length });
  }

  /** Forgets everything, because Redis was emptied: positions begin again. */
  reset(): void {
    this.#groups.clear();
    this.#earlier.clear();
    this.claimedRuns.clear();
    this.orphans.clear();
    this.#done = [];
  }

  /** The bases of the stored rows of this run. */
  async ownRows(connection: Connection): Promise<number[]> {
    const { keys, run } = this.#options;
    return (await connection.do((redis) => redis.hkeys(keys.undelivered(run)))).map(Number);
  }

  /** Notes a delivery. @returns whether Redis must be updated */
  delivered(position: number): boolean {
    const group = this.#groups.delivered(position);
    if (group?.pending.size === 0) this.#done.push(group);
    return group !== undefined;
  }

  /** Takes the names of delivered rows, which an append deletes. If the append fails, call {@link restoreDone}. */
  takeDone(): string[] {
    const names: string[] = [];
    const others: Group[] = [];
    for (const group of this.#done) {
      // Redis has a second row for a group that was delivered in part: `flush` deletes both rows.
      if (group.run === this.#options.run && group.storedPending === group.size && names.length < ROWS_PER_WRITE)
        names.push(String(group.base));
      else others.push(group);
    }
    this.#done = others;
    return names;
  }

  restoreDone(names: readonly string[]): void {
    const { run } = this.#options;
    for (const base of names.map(Number))
      this.#done.push({ run, base, last: base, size: 0, pending: new Set(), storedPending: 0 });
  }

  /** Deletes the rows of delivered groups, and writes the pending positions of partly delivered groups. */
  async flush(connection: Connection): Promise<void> {
    const { keys } = this.#options;
    const done = this.#done;
    this.#done = [];
    const partial = [...this.#earlier.values(), ...this.#groups.current()].filter(
      ({ pending, storedPending }) => pending.size > 0 && pending.size !== storedPending,
    );
    try {
      await connection.do(async (redis) => {
        for (const [run, rows] of byRun(done)) {
          for (let at = 0; at < rows.length; at += ROWS_PER_WRITE) {
            const names = rows.slice(at, at + ROWS_PER_WRITE).map(({ base }) => String(base));
            await Promise.all([redis.hdel(keys.undelivered(run), ...names), redis.hdel(keys.partial(run), ...names)]);
          }
        }
        for (const [run, rows] of byRun(partial)) {
          const left = rows.map(({ pending }) => pending.size);
          const values = rows.flatMap(({ base, pending }) => [String(base), JSON.stringify([...pending])]);
          await redis.hset(keys.partial(run), ...values);
          for (const [index, row] of rows.entries()) row.storedPending = left[index] ?? row.storedPending;
        }
      });
    } catch (error) {
      this.#done = [...done, ...this.#done];
      throw error;
    }
    for (const { run, base } of done) this.#earlier.delete(`${run} ${base}`);
  }

  /** The undelivered publications of orphans and of other runs, in order. */
  async *undelivered(connection: Connection): AsyncGenerator<Undelivered> {
    const { run: own } = this.#options;
    const rows = [...this.orphans].map((base) => ({ run: own, base }));
    for (const run of this.claimedRuns) {
      const names = await connection.do((redis) => redis.hkeys(this.#options.keys.undelivered(run)));
      for (const name of names) rows.push({ run, base: Number(name) });
    }
    rows.sort((a, b) => a.base - b.base);
    for (let at = 0; at < rows.length; at += ROWS_PER_READ) {
      const some = rows.slice(at, at + ROWS_PER_READ);
      for (const found of await Promise.all(some.map(({ run, base }) => this.#read(connection, run, base))))
        for (const one of found) yield one;
    }
    for (const base of this.orphans) if (!this.#earlier.has(`${own} ${base}`)) this.orphans.delete(base);
  }

  async #read(connection: Connection, run: string, base: number): Promise<Undelivered[]> {
    const { keys, isSuperseded } = this.#options;
    const name = String(base);
    const [value, partial] = await connection.do((redis) =>
      Promise.all([redis.hgetBuffer(keys.undelivered(run), name), redis.hget(keys.partial(run), name)]),
    );
    if (value === null) return [];
    const publications = decodePublications(value);
    const key = `${run} ${base}`;
    let group = this.#earlier.get(key);
    if (group === undefined) {
      const left: number[] = partial === null ? publications.map(({ place }) => base + place) : JSON.parse(partial);
      const last = base + (publications.at(-1)?.place ?? 0);
      group = { run, base, last, size: publications.length, pending: new Set(left), storedPending: left.length };
      this.#earlier.set(key, group);
      this.#groups.addStored(group);
    }
    const { pending } = group;
    return publications.flatMap(({ place, topic, payload, qos, retain, changesState }) => {
      const position = base + place;
      if (!pending.has(position)) return [];
      // An outdated message must not replace the retained message that another node has set since.
      const isStale = changesState && isSuperseded(topic, position, payload.length === 0);
      return [{ position, topic, payload, qos, retain: retain && !isStale }];
    });
  }
}

function byRun(groups: readonly Group[]): Map<string, Group[]> {
  const runs = new Map<string, Group[]>();
  for (const group of groups) {
    const rows = runs.get(group.run) ?? [];
    rows.push(group);
    runs.set(group.run, rows);
  }
  return runs;
}

import type { Undelivered } from "../../journal.ts";
import type { Connection } from "./connection.ts";
import type { JournalKeys } from "./keys.ts";
import { decodePublications } from "./publications.ts";
import { LEAVE } from "./scripts/life.ts";

/** The undelivered publications of one batch. */
interface Group {
  /** The run that appended the batch. */
  readonly run: string;
  /** The position before the batch. It is the name of the row. */
  readonly base: number;
  readonly size: number;
  /** The positions that are not delivered yet. */
  readonly pending: Set<number>;
  /** The number of pending positions as stored. */
  storedPending: number;
}

/** The number of rows per read: one row may be as large as a whole batch. */
const ROWS_PER_READ = 4;
/** Rows deleted in one command. */
const ROWS_PER_WRITE = 500;

export interface MqttOutboxOptions {
  /** This run of this node. */
  run: string;
  keys: JournalKeys;
  maxBatches: number;
  /**
   * Whether the retained topic was changed again after `position`.
   * @param isClear the message at `position` clears the topic
   */
  isSuperseded: (topic: string, position: number, isClear: boolean) => boolean;
}

/**
 * Tracks which publications the MQTT subscribers have not received yet. The publications of one batch are one row,
 * which belongs to the run that appended the batch. The row is deleted once all of them are delivered; a partly
 * delivered row is updated with a delay. When a run ends, another run takes over its rows. So after a crash, no
 * publication is lost, and some are delivered again.
 */
export class MqttOutbox {
  readonly #options: MqttOutboxOptions;
  /** The groups of this run, in order of position. Those before `#start` are delivered or given up. */
  #groups: Group[] = [];
  #start = 0;
  /** Groups that were read from Redis, by run and base: those of runs that were taken over, and those of orphans. */
  readonly #earlier = new Map<string, Group>();
  /** The same groups, by pending position. */
  readonly #earlierByPosition = new Map<number, Group>();
  readonly #takenOver = new Set<string>();
  /** Orphans: batches of this run, by base, that are in the log although their appends were rejected. */
  readonly #orphans = new Set<number>();
  /** Delivered groups whose rows must be deleted. */
  #done: Group[] = [];

  constructor(options: MqttOutboxOptions) {
    this.#options = options;
  }

  /** Other runs whose rows this run delivers. */
  get takenOver(): ReadonlySet<string> {
    return this.#takenOver;
  }

  /**
   * Adds the publications of a durable batch.
   * @returns false when the oldest group was given up because there are too many: it is delivered again after this run
   */
  add(base: number, places: readonly number[]): boolean {
    const pending = new Set<number>();
    for (const place of places) pending.add(base + place);
    this.#groups.push({ run: this.#options.run, base, size: places.length, pending, storedPending: places.length });
    while (this.#start < this.#groups.length && this.#groups[this.#start]?.pending.size === 0) this.#start++;
    const hasRoom = this.#groups.length - this.#start <= this.#options.maxBatches;
    if (!hasRoom) this.#start++;
    if (this.#start * 2 > this.#groups.length) {
      this.#groups = this.#groups.slice(this.#start);
      this.#start = 0;
    }
    return hasRoom;
  }

  takeOver(run: string): void {
    this.#takenOver.add(run);
  }

  /** Forgets everything, because Redis was emptied: positions begin again. */
  reset(): void {
    this.#groups = [];
    this.#start = 0;
    this.#earlier.clear();
    this.#earlierByPosition.clear();
    this.#takenOver.clear();
    this.#orphans.clear();
    this.#done = [];
  }

  /** The stored rows of this run, by base. */
  async ownRows(connection: Connection): Promise<number[]> {
    const { keys, run } = this.#options;
    return (await connection.do((redis) => redis.hkeys(keys.undelivered(run)))).map(Number);
  }

  /** Adds a batch of this run that is in the log although its appends were rejected. Retries are duplicates. */
  addOrphan(base: number): void {
    this.#orphans.add(base);
  }

  /** Notes a delivery. @returns whether Redis must be updated */
  delivered(position: number): boolean {
    const group = this.#earlierByPosition.get(position) ?? this.#groupOf(position);
    if (group?.pending.delete(position) !== true) return false;
    this.#earlierByPosition.delete(position);
    if (group.pending.size === 0) this.#done.push(group);
    return true;
  }

  /**
   * The names of delivered rows of this run, for deletion by an append. If the append fails, call {@link restoreDone}.
   */
  takeDone(): string[] {
    const names: string[] = [];
    const others: Group[] = [];
    for (const group of this.#done) {
      // A partly delivered group has a second row, so `flush` deletes its rows.
      if (group.run === this.#options.run && group.storedPending === group.size && names.length < ROWS_PER_WRITE)
        names.push(String(group.base));
      else others.push(group);
    }
    this.#done = others;
    return names;
  }

  restoreDone(names: readonly string[]): void {
    const { run } = this.#options;
    for (const name of names)
      this.#done.push({ run, base: Number(name), size: 0, pending: new Set(), storedPending: 0 });
  }

  /** Deletes the rows of delivered groups, and writes the pending positions of partly delivered groups. */
  async flush(connection: Connection): Promise<void> {
    const { keys } = this.#options;
    const done = this.#done;
    this.#done = [];
    const partial = [...this.#earlier.values(), ...this.#groups.slice(this.#start)].filter(
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

  /** Lets other nodes take over the remaining rows of this run and of the runs that this run took over. */
  async leave(connection: Connection): Promise<void> {
    const { keys, run } = this.#options;
    await connection.run(LEAVE, keys.meta, [keys.prefix, run, ...this.#takenOver]);
  }

  /** The undelivered publications of orphans and of runs that were taken over, in order. */
  async *undelivered(connection: Connection): AsyncGenerator<Undelivered> {
    const { run: own } = this.#options;
    const rows = [...this.#orphans].map((base) => ({ run: own, base }));
    for (const run of this.#takenOver) {
      const names = await connection.do((redis) => redis.hkeys(this.#options.keys.undelivered(run)));
      for (const name of names) rows.push({ run, base: Number(name) });
    }
    rows.sort((a, b) => a.base - b.base);
    for (let at = 0; at < rows.length; at += ROWS_PER_READ) {
      const some = rows.slice(at, at + ROWS_PER_READ);
      for (const found of await Promise.all(some.map(({ run, base }) => this.#read(connection, run, base))))
        for (const one of found) yield one;
    }
    for (const base of this.#orphans) if (!this.#earlier.has(`${own} ${base}`)) this.#orphans.delete(base);
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
      group = { run, base, size: publications.length, pending: new Set(left), storedPending: left.length };
      this.#earlier.set(key, group);
      for (const position of left) this.#earlierByPosition.set(position, group);
    }
    const { pending } = group;
    return publications.flatMap(({ place, topic, payload, qos, retain, changesState }) => {
      const position = base + place;
      if (!pending.has(position)) return [];
      // Another node may have changed the retained message since: an outdated message must not replace it.
      const isStale = changesState && isSuperseded(topic, position, payload.length === 0);
      return [{ position, topic, payload, qos, retain: retain && !isStale }];
    });
  }

  #groupOf(position: number): Group | undefined {
    let low = this.#start;
    let high = this.#groups.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#groups[middle]?.base ?? 0) < position) low = middle;
      else high = middle - 1;
    }
    return this.#groups[low];
  }
}

function byRun(groups: readonly Group[]): Map<string, Group[]> {
  const runs = new Map<string, Group[]>();
  for (const group of groups) {
    const known = runs.get(group.run);
    if (known === undefined) runs.set(group.run, [group]);
    else known.push(group);
  }
  return runs;
}

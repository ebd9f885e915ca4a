import type { Undelivered } from "../../journal.ts";
import type { Connection } from "./connection.ts";
import type { JournalKeys } from "./keys.ts";
import { decodePublications } from "./publications.ts";
import { LEAVE } from "./scripts/life.ts";

/** The publications of one batch that MQTT subscribers are still to get. */
interface Group {
  /** The run that appended it. */
  readonly run: string;
  /** Its first position, less one: the name of its row. */
  readonly base: number;
  readonly size: number;
  readonly open: Set<number>;
  /** How many were open when that was last written. */
  storedPending: number;
}

/** Rows read at a time: one may be as large as a whole batch. */
const ROWS_PER_READ = 4;
/** Rows removed in one command. */
const ROWS_PER_WRITE = 500;

export interface MqttOutboxOptions {
  /** This run of this node. */
  run: string;
  keys: JournalKeys;
  maxBatches: number;
  /** Whether something newer was said on a retained topic than what `position` set, or cleared. */
  isSuperseded: (topic: string, position: number, isClear: boolean) => boolean;
}

/**
 * Remembers what is to be emitted. A batch's publications are one row of the run that appended it, which goes when the
 * last of them was emitted; which of them were is written only when there is time to. What a run that ended has left,
 * another run takes over: so after a crash some are emitted again, and none is forgotten.
 */
export class MqttOutbox {
  readonly #options: MqttOutboxOptions;
  /** Of this run, in order of position; those before `#start` are through. */
  #groups: Group[] = [];
  #start = 0;
  /** Of runs that were taken over and of lost answers, by run and base, as far as they were read. */
  readonly #earlier = new Map<string, Group>();
  readonly #earlierOf = new Map<number, Group>();
  readonly #takenOver = new Set<string>();
  /** Batches of this run that were appended, though nobody was told so. */
  readonly #orphans = new Set<number>();
  /** Rows that are through, to be removed. */
  #done: Group[] = [];

  constructor(options: MqttOutboxOptions) {
    this.#options = options;
  }

  /** Runs whose rows this one answers for, beside its own. */
  get takenOver(): ReadonlySet<string> {
    return this.#takenOver;
  }

  /** The publications of a batch are durable. @returns false when older ones were given up until the next run */
  add(base: number, places: readonly number[]): boolean {
    const open = new Set<number>();
    for (const place of places) open.add(base + place);
    this.#groups.push({ run: this.#options.run, base, size: places.length, open, storedPending: places.length });
    while (this.#start < this.#groups.length && this.#groups[this.#start]?.open.size === 0) this.#start++;
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

  /** The store was emptied: positions begin again, and what they were said of is gone. */
  reset(): void {
    this.#groups = [];
    this.#start = 0;
    this.#earlier.clear();
    this.#earlierOf.clear();
    this.#takenOver.clear();
    this.#orphans.clear();
    this.#done = [];
  }

  /** What is stored of this run. */
  async ownRows(connection: Connection): Promise<number[]> {
    const { keys, run } = this.#options;
    return (await connection.do((redis) => redis.hkeys(keys.undelivered(run)))).map(Number);
  }

  /** A batch of this run is in the log, but its senders were told that it failed: they will be told of a repetition. */
  addOrphan(base: number): void {
    this.#orphans.add(base);
  }

  /** @returns whether there is something to write */
  delivered(position: number): boolean {
    const group = this.#earlierOf.get(position) ?? this.#groupOf(position);
    if (group?.open.delete(position) !== true) return false;
    this.#earlierOf.delete(position);
    if (group.open.size === 0) this.#done.push(group);
    return true;
  }

  /** The names of this run's rows that are through, to be removed along with an append; given back if that fails. */
  takeDone(): string[] {
    const names: string[] = [];
    const others: Group[] = [];
    for (const group of this.#done) {
      // What was partly written has two rows.
      if (group.run === this.#options.run && group.storedPending === group.size && names.length < ROWS_PER_WRITE)
        names.push(String(group.base));
      else others.push(group);
    }
    this.#done = others;
    return names;
  }

  restoreDone(names: readonly string[]): void {
    const { run } = this.#options;
    for (const name of names) this.#done.push({ run, base: Number(name), size: 0, open: new Set(), storedPending: 0 });
  }

  /** Removes the rows that are through and writes what is left of those that are in part. */
  async flush(connection: Connection): Promise<void> {
    const { keys } = this.#options;
    const done = this.#done;
    this.#done = [];
    const partial = [...this.#earlier.values(), ...this.#groups.slice(this.#start)].filter(
      ({ open, storedPending }) => open.size > 0 && open.size !== storedPending,
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
          const left = rows.map(({ open }) => open.size);
          const values = rows.flatMap(({ base, open }) => [String(base), JSON.stringify([...open])]);
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

  /** Lets others take over what is left; at the end of this run, or of all that was taken over. */
  async leave(connection: Connection): Promise<void> {
    const { keys, run } = this.#options;
    await connection.run(LEAVE, keys.meta, [keys.prefix, run, ...this.#takenOver]);
  }

  /** What runs that ended, and lost answers, have left to emit; in order. */
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
      group = { run, base, size: publications.length, open: new Set(left), storedPending: left.length };
      this.#earlier.set(key, group);
      for (const position of left) this.#earlierOf.set(position, group);
    }
    const { open } = group;
    return publications.flatMap(({ place, topic, payload, qos, retain, bearsState }) => {
      const position = base + place;
      if (!open.has(position)) return [];
      // Other nodes went on meanwhile: what is not the last word any more must not become the retained one.
      const isStale = bearsState && isSuperseded(topic, position, payload.length === 0);
      return [{ position, topic, payload, qos, retain: retain && !isStale }];
    });
  }

  #groupOf(position: number): Group | undefined {
    // Nearly always one of the oldest few that are open.
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

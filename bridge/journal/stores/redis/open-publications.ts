import type { LoggedPublication } from "../../../../platform/publication-log.ts";
import type { Connection } from "../../../../platform/redis/connection.ts";
import type { JournalKeys } from "./keys.ts";
import { readOpen } from "./publication-rows.ts";

const POSITIONS_PER_WRITE = 500;

/** A range of positions, both included. */
interface Orphan {
  from: number;
  until: number;
}

/**
 * The commands that the relay has not finished. Each run has its own hash, with one field for each command. When a run
 * ends, another run claims its hash. So after a crash, each unfinished command is reported once or more.
 */
export class OpenPublications {
  readonly #run: string;
  readonly #keys: JournalKeys;
  /** The run of each unfinished command that this run knows. */
  readonly #runs = new Map<number, string>();
  /** Finished commands of this run whose fields must be deleted. */
  #done: number[] = [];
  /** Finished commands of other runs whose fields must be deleted. */
  #doneOfOthers: [run: string, position: number][] = [];
  /** The other runs whose commands this run reports. */
  #claimedRuns: ReadonlySet<string> = new Set();
  /** The positions of batches of this run that are in the log although their appends were rejected. */
  #orphans: Orphan[] = [];

  constructor(run: string, keys: JournalKeys) {
    this.#run = run;
    this.#keys = keys;
  }

  add(position: number): void {
    this.#runs.set(position, this.#run);
  }

  addOrphan(from: number, until: number): void {
    this.#orphans.push({ from, until });
  }

  /**
   * Forgets the commands that are lost, because Redis was emptied or rolled back. Those that a rollback brought back are
   * deleted again. @param head the newest position now
   */
  async reset(connection: Connection, head: number): Promise<void> {
    const stored = (await connection.do((redis) => redis.hkeys(this.#keys.open(this.#run)))).map(Number);
    for (const [position, run] of this.#runs) if (position > head || run !== this.#run) this.#runs.delete(position);
    this.#claimedRuns = new Set();
    this.#doneOfOthers = [];
    this.#done = stored.filter((position) => !this.#runs.has(position) && !this.#isOrphan(position));
  }

  /** @param runs the other runs whose commands this run reports now @returns whether there are new ones */
  claimed(runs: readonly string[]): boolean {
    const before = this.#claimedRuns;
    this.#claimedRuns = new Set(runs);
    return runs.some((run) => !before.has(run));
  }

  /** Notes that a command is finished. @returns whether Redis must be updated */
  finished(position: number): boolean {
    const run = this.#runs.get(position);
    if (run === undefined) return false;
    this.#runs.delete(position);
    if (run === this.#run) this.#done.push(position);
    else this.#doneOfOthers.push([run, position]);
    return true;
  }

  /** Takes the positions of finished commands, which an append deletes. If the append fails, call {@link restoreDone}. */
  takeDone(): number[] {
    return this.#done.splice(0, POSITIONS_PER_WRITE);
  }

  restoreDone(positions: readonly number[]): void {
    if (positions.length > 0) this.#done = [...positions, ...this.#done];
  }

  /** Deletes the fields of finished commands. */
  async flush(connection: Connection): Promise<void> {
    const done: [run: string, position: number][] = [
      ...this.#done.map((position): [string, number] => [this.#run, position]),
      ...this.#doneOfOthers,
    ];
    this.#done = [];
    this.#doneOfOthers = [];
    try {
      await connection.do(async (redis) => {
        for (const [run, positions] of byRun(done))
          for (let at = 0; at < positions.length; at += POSITIONS_PER_WRITE)
            await redis.hdel(this.#keys.open(run), ...positions.slice(at, at + POSITIONS_PER_WRITE).map(String));
      });
    } catch (error) {
      this.#doneOfOthers = [...done, ...this.#doneOfOthers];
      throw error;
    }
  }

  /** The unfinished commands of orphans and of other runs, in order. */
  async *unfinished(connection: Connection): AsyncGenerator<LoggedPublication> {
    const found: LoggedPublication[] = [];
    const reported = this.#orphans;
    if (reported.length > 0) {
      for (const publication of await this.#read(connection, this.#run)) {
        const { position } = publication;
        if (!this.#isOrphan(position) || this.#done.includes(position)) continue;
        this.#runs.set(position, this.#run);
        found.push(publication);
      }
      this.#orphans = this.#orphans.filter((orphan) => !reported.includes(orphan));
    }
    const finished = new Set(this.#doneOfOthers.map(([run, position]) => `${run} ${position}`));
    for (const run of this.#claimedRuns)
      for (const publication of await this.#read(connection, run)) {
        if (finished.has(`${run} ${publication.position}`)) continue;
        this.#runs.set(publication.position, run);
        found.push(publication);
      }
    for (const publication of found.sort((a, b) => a.position - b.position)) yield publication;
  }

  #isOrphan(position: number): boolean {
    return this.#orphans.some(({ from, until }) => position >= from && position <= until);
  }

  async #read(connection: Connection, run: string): Promise<LoggedPublication[]> {
    const fields = await connection.do((redis) => redis.hgetallBuffer(this.#keys.open(run)));
    return Object.entries(fields).map(([position, value]) => readOpen(Number(position), value));
  }
}

function byRun(done: readonly [run: string, position: number][]): Map<string, number[]> {
  const runs = new Map<string, number[]>();
  for (const [run, position] of done) {
    const positions = runs.get(run) ?? [];
    positions.push(position);
    runs.set(run, positions);
  }
  return runs;
}

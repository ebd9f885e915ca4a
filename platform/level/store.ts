import type { Logger } from "pino";
import { StoreUnavailableError } from "../errors.ts";
import { probeDisk, reopenDatabase } from "./database.ts";
import { messagesOf } from "./errors.ts";
import { writeFailureReason } from "./write-failure-reason.ts";
import { type Database, WriteSet } from "./write-set.ts";

/** How often a store in trouble looks whether it can write again when no append makes it try. */
const PROBE_INTERVAL_MS = 1_000;

export interface StoreOptions {
  path: string;
  sync: boolean;
  logger: Logger;
  /** What it holds, for the log. Default "journal". */
  what?: string;
  /** What a row must be as far as readers know; undefined for none. */
  truth: (key: string) => string | Uint8Array | undefined;
  /** Written as proof that writing works again. */
  proof: (set: WriteSet) => void;
}

/**
 * The database, and what to do when it does not take a write.
 *
 * ```
 *            write fails                      disk takes a probe, database opened again,
 *  writing ───────────────▶ in trouble ─────────────────────────────────────────────────▶ writing
 *                            │     ▲            rows in doubt written as readers know them
 *                            └─────┘ next append, or a second later
 * ```
 *
 * After a failed write LevelDB must not be written to again: its log may hold a part of the record, and what follows
 * that is unreadable at the next start. Opening it anew begins a new log. Whether the failed rows are in the old one
 * is anybody's guess, so each of them is then written as it was before.
 */
export class Store {
  readonly #options: StoreOptions;
  readonly #inDoubt = new Set<string>();
  #db: Database;
  #trouble: string | undefined;
  #recovering: Promise<void> | undefined;
  #probeTimer: NodeJS.Timeout | undefined;

  constructor(db: Database, options: StoreOptions) {
    this.#db = db;
    this.#options = options;
  }

  get db(): Database {
    return this.#db;
  }

  get #what(): string {
    return this.#options.what ?? "journal";
  }

  get unavailableReason(): string | undefined {
    return this.#trouble;
  }

  /**
   * Resolves when a write may be tried.
   * @throws {StoreUnavailableError}
   */
  async ready(): Promise<void> {
    if (this.#trouble !== undefined) await this.#recover();
  }

  /**
   * Writes rows of a group and chores in one go.
   * @param chores rows that are written again, the same, after a failure
   * @throws {StoreUnavailableError} and is in trouble
   */
  async write(group: WriteSet, chores: WriteSet, sync = this.#options.sync): Promise<void> {
    const set = chores.size === 0 ? group : new WriteSet();
    if (set !== group) {
      set.add(chores);
      set.add(group);
    }
    try {
      await set.write(this.#db, sync);
    } catch (error) {
      for (const key of group.keys) this.#inDoubt.add(key);
      throw this.failed(error);
    }
  }

  /** Reads, and once more if the database was opened anew meanwhile. @throws {StoreUnavailableError} */
  async read<Result>(read: (db: Database) => Promise<Result>): Promise<Result> {
    const db = this.#db;
    try {
      return await read(db);
    } catch (error) {
      await this.#recovering?.catch(() => {});
      if (this.#db !== db) return await read(this.#db);
      // In trouble it may be closed between two attempts to open it again; the trouble was logged.
      if (this.#trouble === undefined) this.#options.logger.error({ err: error }, `${this.#what} cannot be read`);
      throw new StoreUnavailableError(
        `the ${this.#what} in ${this.#options.path} cannot be read: ${messagesOf(error)}`,
        { cause: error },
      );
    }
  }

  /** Notes why writing does not work. */
  failed(error: unknown): Error {
    const unavailableReason = writeFailureReason(error, this.#options.path);
    if (this.#trouble === undefined)
      this.#options.logger.error({ err: error, unavailableReason }, `${this.#what} cannot be written`);
    this.#trouble = unavailableReason;
    this.#probeTimer ??= setInterval(() => void this.#recover().catch(() => {}), PROBE_INTERVAL_MS).unref();
    return new StoreUnavailableError(unavailableReason, { cause: error });
  }

  async close(): Promise<void> {
    clearInterval(this.#probeTimer);
    await this.#recovering?.catch(() => {});
    await this.#db.close();
  }

  #recover(): Promise<void> {
    this.#recovering ??= this.#tryToRecover().finally(() => {
      this.#recovering = undefined;
    });
    return this.#recovering;
  }

  async #tryToRecover(): Promise<void> {
    const { path, logger, truth, proof } = this.#options;
    try {
      await probeDisk(path);
      await this.#db.close();
      this.#db = await reopenDatabase(path);
      const set = new WriteSet();
      for (const key of this.#inDoubt) {
        const value = truth(key);
        if (value === undefined) set.del(key);
        else set.put(key, value);
      }
      proof(set);
      await set.write(this.#db, true);
    } catch (error) {
      throw this.failed(error);
    }
    this.#inDoubt.clear();
    this.#trouble = undefined;
    clearInterval(this.#probeTimer);
    this.#probeTimer = undefined;
    logger.info(`${this.#what} can be written again`);
  }
}

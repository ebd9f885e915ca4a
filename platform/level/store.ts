import type { Logger } from "pino";
import { StoreUnavailableError } from "../errors.ts";
import { probeDisk, reopenDatabase } from "./database.ts";
import { messagesOf } from "./errors.ts";
import { writeFailureReason } from "./write-failure-reason.ts";
import { type Database, WriteSet } from "./write-set.ts";

const PROBE_INTERVAL_MS = 1_000;
const UNREADABLE = new Uint8Array();

interface StoreOptions {
  path: string;
  sync: boolean;
  logger: Logger;
  /** The content, for messages. Default "journal". */
  what?: string;
  /** The value of a row according to memory; undefined when there must be no row. */
  truth: (key: string) => string | Uint8Array | undefined;
  /** Whether memory does not have the correct value of the row, which is then the value before the failed write. */
  isRestored?: (key: string) => boolean;
  /** Adds a row whose write proves that the disk accepts writes again. */
  proof: (set: WriteSet) => void;
}

/**
 * A database that recovers from a failed write.
 *
 * ```
 *            write fails                      probe written, database reopened,
 *  writing ───────────────▶ unavailable ───────────────────────────────────────────▶ writing
 *                            │     ▲          doubtful rows rewritten from memory
 *                            └─────┘ next append, or a second later
 * ```
 *
 * After a failed write, LevelDB's log may end with a part of a record, and records after that part would be unreadable.
 * Reopening the database begins a new log. The old log may or may not hold the failed rows, so they are rewritten.
 */
export class Store {
  readonly #options: StoreOptions;
  readonly #what: string;
  readonly #inDoubt = new Set<string>();
  /** The values before the failed write, of rows that are restored. */
  readonly #before = new Map<string, Uint8Array | undefined>();
  db: Database;
  unavailableReason: string | undefined;
  #recovering: Promise<void> | undefined;
  #probeTimer: NodeJS.Timeout | undefined;

  constructor(db: Database, options: StoreOptions) {
    this.db = db;
    this.#options = options;
    this.#what = options.what ?? "journal";
  }

  /** An unavailable store tries to recover. @throws {StoreUnavailableError} it did not recover */
  async ready(): Promise<void> {
    if (this.unavailableReason !== undefined) await this.#recover();
  }

  /**
   * Writes all rows in one batch.
   * @param chores rows that the caller passes again after a failure
   * @throws {StoreUnavailableError} the store is now unavailable
   */
  async write(group: WriteSet, chores: WriteSet, sync = this.#options.sync): Promise<void> {
    const set = chores.size === 0 ? group : new WriteSet();
    if (set !== group) {
      set.add(chores);
      set.add(group);
    }
    try {
      await set.write(this.db, sync);
    } catch (error) {
      await this.#noteDoubt(group.keys);
      throw this.failed(error);
    }
  }

  async #noteDoubt(keys: readonly string[]): Promise<void> {
    const { isRestored } = this.#options;
    for (const key of keys) {
      if (isRestored?.(key) !== true) this.#inDoubt.add(key);
      else if (!this.#before.has(key)) {
        // Until the database is reopened, it does not have the rows of a failed write.
        const value = await this.db.get<string, Uint8Array>(key, { valueEncoding: "view" }).catch(() => UNREADABLE);
        if (value !== UNREADABLE) this.#before.set(key, value);
      }
    }
  }

  /** Retries once if the database was reopened meanwhile. @throws {StoreUnavailableError} */
  async read<Result>(read: (db: Database) => Promise<Result>): Promise<Result> {
    const db = this.db;
    try {
      return await read(db);
    } catch (error) {
      await this.#recovering?.catch(() => {});
      if (this.db !== db) return await read(this.db);
      const { path, logger } = this.#options;
      // Not logged for an unavailable store, which may be closed between two attempts to reopen it.
      if (this.unavailableReason === undefined) logger.error({ err: error }, `${this.#what} cannot be read`);
      const why = `the ${this.#what} in ${path} cannot be read: ${messagesOf(error)}`;
      throw new StoreUnavailableError(why, { cause: error });
    }
  }

  /** Starts to probe the disk. @returns the error for the caller to throw */
  failed(error: unknown): Error {
    const unavailableReason = writeFailureReason(error, this.#options.path);
    if (this.unavailableReason === undefined)
      this.#options.logger.error({ err: error, unavailableReason }, `${this.#what} cannot be written`);
    this.unavailableReason = unavailableReason;
    this.#probeTimer ??= setInterval(() => void this.#recover().catch(() => {}), PROBE_INTERVAL_MS).unref();
    return new StoreUnavailableError(unavailableReason, { cause: error });
  }

  async close(): Promise<void> {
    clearInterval(this.#probeTimer);
    await this.#recovering?.catch(() => {});
    await this.db.close();
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
      await this.db.close();
      this.db = await reopenDatabase(path);
      const set = new WriteSet();
      for (const key of this.#inDoubt) {
        const value = truth(key);
        if (value === undefined) set.del(key);
        else set.put(key, value);
      }
      for (const [key, value] of this.#before) {
        if (value === undefined) set.del(key);
        else set.put(key, value);
      }
      proof(set);
      await set.write(this.db, true);
    } catch (error) {
      throw this.failed(error);
    }
    this.#inDoubt.clear();
    this.#before.clear();
    this.unavailableReason = undefined;
    clearInterval(this.#probeTimer);
    this.#probeTimer = undefined;
    logger.info(`${this.#what} is writable again`);
  }
}

import type { Logger } from "pino";
import type { Database, WriteSet } from "../../../../platform/level/write-set.ts";
import type { BrokerRows, IncomingId } from "../../../../platform/publication-log.ts";
import type { GroupCommit } from "./group-commit.ts";
import { brokerKey, incomingKey, partsOfIncomingKey, rowsOf } from "./keys.ts";
import { RowCopies, readRow, rowText, type VersionedRow } from "./row-copies.ts";

/** How long a changed row waits for a write of the journal to join. After that, it is written on its own. */
const FLUSH_DELAY_MS = 50;

interface LevelBrokerRowsOptions {
  db: () => Database;
  writer: () => Writer;
  /** The folder of the copy. */
  path: string;
  /** All versions of rows that are stored now are below this number. */
  nextVersion: number;
  logger: Logger;
}

type Writer = Pick<GroupCommit, "deferredRows" | "flushDeferredRows">;

/**
 * The broker's rows in the journal's store. Each write of the journal includes the rows that have changed. A copy of the
 * rows stands in a file of its own.
 */
export class LevelBrokerRows implements BrokerRows {
  readonly #db: () => Database;
  readonly #writer: () => Writer;
  readonly #copies: RowCopies;
  readonly #collectors = new Set<() => void>();
  readonly #changed = new Map<string, string | undefined>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #nextVersion: number;

  constructor({ db, writer, path, nextVersion, logger }: LevelBrokerRowsOptions) {
    this.#db = db;
    this.#writer = writer;
    this.#nextVersion = nextVersion;
    this.#copies = new RowCopies({ path, rows: () => this.#all(), logger });
  }

  async *load(prefix: string): AsyncGenerator<readonly [key: string, value: string]> {
    const first = brokerKey(prefix);
    for await (const [key, value] of this.#db().iterator({ gte: first, lt: `${first}\u{10ffff}` }))
      yield [key.slice(1), readRow(value).value];
  }

  async *#all(): AsyncGenerator<readonly [key: string, row: VersionedRow]> {
    for await (const [key, text] of this.#db().iterator(rowsOf("c"))) yield [key.slice(1), readRow(text)];
  }

  set(key: string, value: string | undefined): void {
    this.#changed.set(key, value);
    if (this.#isClosed) return;
    this.#timer ??= setTimeout(() => {
      // If this write fails, the rows join a later write.
      this.flush().catch(() => {});
    }, FLUSH_DELAY_MS).unref();
  }

  beforeWrite(collect: () => void): () => void {
    this.#collectors.add(collect);
    return () => this.#collectors.delete(collect);
  }

  async flush(): Promise<void> {
    await this.#writer().flushDeferredRows();
  }

  // A single node writes all rows, and has the newest in memory.

  readonly isFirstNode = true;

  async take(): Promise<undefined> {}

  release(): void {}

  settle(): void {}

  isUnchanged(): boolean {
    return true;
  }

  writerOf(): "this" {
    return "this";
  }

  async removeSession(client: string): Promise<boolean> {
    this.set(`session:${client}`, undefined);
    await this.flush();
    return true;
  }

  follow(): () => void {
    return () => {};
  }

  /** Moves the changed rows to the next write. */
  putChanged(set: WriteSet): void {
    for (const collect of this.#collectors) collect();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [key, value] of this.#changed) {
      const version = this.#nextVersion++;
      if (value === undefined) set.del(brokerKey(key));
      else set.put(brokerKey(key), rowText(version, value));
      this.#copies.note(key, { version, value });
    }
    this.#changed.clear();
  }

  /** No row is written after this. */
  end(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  /** Completes the copy. Call this while the store is open. */
  async close(): Promise<void> {
    await this.#copies.close();
  }

  async *incomingIds(): AsyncGenerator<IncomingId> {
    for await (const key of this.#db().keys(rowsOf("x"))) yield partsOfIncomingKey(key);
  }

  async removeIncomingIds(ids: readonly IncomingId[]): Promise<void> {
    const writer = this.#writer();
    for (const id of ids) writer.deferredRows.del(incomingKey(id));
    await writer.flushDeferredRows();
  }
}

import type { Database, WriteSet } from "../../../../platform/level/write-set.ts";
import type { BrokerRows, IncomingId } from "../../../../platform/publication-log.ts";
import type { GroupCommit } from "./group-commit.ts";
import { brokerKey, incomingKey, partsOfIncomingKey, rowsOf } from "./keys.ts";

/** How long a changed row waits for a write of the journal to join. After that, it is written on its own. */
const FLUSH_DELAY_MS = 50;

type Writer = Pick<GroupCommit, "deferredRows" | "flushDeferredRows">;

/** The broker's rows in the journal's store. Each write of the journal includes the rows that have changed. */
export class LevelBrokerRows implements BrokerRows {
  readonly #db: () => Database;
  readonly #writer: () => Writer;
  readonly #collectors = new Set<() => void>();
  readonly #changed = new Map<string, string | undefined>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(db: () => Database, writer: () => Writer) {
    this.#db = db;
    this.#writer = writer;
  }

  async *load(prefix: string): AsyncGenerator<readonly [key: string, value: string]> {
    const first = brokerKey(prefix);
    for await (const [key, value] of this.#db().iterator({ gte: first, lt: `${first}\u{10ffff}` }))
      yield [key.slice(1), value];
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
      if (value === undefined) set.del(brokerKey(key));
      else set.put(brokerKey(key), value);
    }
    this.#changed.clear();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
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

import type { ClassicLevel } from "classic-level";
import type { Logger } from "pino";
import { messagesOf } from "../../platform/level/errors.ts";
import { openLevel } from "../../platform/level/open-store.ts";
import { delay, settledWithin } from "../host/delay.ts";
import { type LargeValues, MAX_LARGE_BYTES } from "./large-values.ts";

export type Change = readonly [key: string, value: string | Uint8Array | undefined];

export interface OutboxDatabase {
  db: ClassicLevel<string, Uint8Array>;
  large: LargeValues;
}

/**
 * Small buffers: a Raspberry Pi has little memory, and the outbox seldom reads a value twice. LevelDB's minima are 64
 * for `maxOpenFiles` and 1 MB for `maxFileSize`.
 */
export const LEVEL_OPTIONS = {
  keyEncoding: "utf8",
  valueEncoding: "view",
  writeBufferSize: 512 * 1024,
  cacheSize: 1024 * 1024,
  maxOpenFiles: 64,
  maxFileSize: 1024 * 1024,
} as const;
/** Binary values from this size up to {@link MAX_LARGE_BYTES} are stored as files. */
const MIN_LARGE_BYTES = 4096;
/** The wait after a failed write doubles with each failure. */
const RETRY_MS = { first: 500, longest: 30_000 };
const CLOSE_TIMEOUT_MS = 2000;

/**
 * The outbox' database. The changes of one tick are one write with one fsync. A failed write is retried until it
 * succeeds. Each retry reopens LevelDB, whose log may end with half a record after a failure.
 *
 * Large values are files. The files of a write are written before its other changes, and deleted after its other
 * changes.
 */
export class OutboxStore {
  readonly #path: string;
  readonly #logger: Logger;
  readonly #large: LargeValues;
  #db: OutboxDatabase["db"];
  #changes: Change[] = [];
  #onDurable: (() => void)[] = [];
  #bytes = 0;
  #writing: Promise<void> | undefined;
  #failure: string | undefined;
  #reopening: Promise<void> | undefined;
  #reopened: () => void = () => {};
  #closing: Promise<void> | undefined;
  readonly #stop = new AbortController();
  #makeRoom: () => readonly string[] = () => [];
  #onFailureChange: () => void = () => {};

  constructor(path: string, { db, large }: OutboxDatabase, logger: Logger) {
    this.#path = path;
    this.#db = db;
    this.#large = large;
    this.#logger = logger;
  }

  /**
   * Sets the callback that frees space before each retry on a full disk. It must write the deletions itself, and return
   * the keys of large values, whose files are deleted at once.
   */
  onFull(makeRoom: () => readonly string[]): void {
    this.#makeRoom = makeRoom;
  }

  onFailureChange(listener: () => void): void {
    this.#onFailureChange = listener;
  }

  /** Why the last write failed; undefined when it succeeded. */
  get failure(): string | undefined {
    return this.#failure;
  }

  get waitingBytes(): number {
    return this.#bytes;
  }

  /** @param onDurable called when the changes are on the disk, in the order of calls; never after `close` */
  write(changes: readonly Change[], onDurable: () => void): void {
    for (const change of changes) {
      this.#changes.push(change);
      this.#bytes += change[1]?.length ?? 0;
    }
    this.#onDurable.push(onDurable);
    this.#writing ??= this.#writePending();
  }

  /** Undefined for each missing or unreadable key. Give large values back with {@link recycle}. */
  async read(keys: string[]): Promise<(Uint8Array | undefined)[]> {
    const values = await this.#readRows(keys);
    return Promise.all(keys.map((key, index) => (this.#large.has(key) ? this.#large.read(key) : values[index])));
  }

  async #readRows(keys: string[]): Promise<(Uint8Array | undefined)[]> {
    for (;;) {
      await this.#reopening;
      const db = this.#db;
      try {
        return await db.getMany(keys);
      } catch {
        // One unreadable block must not hide the other values.
        const values = await Promise.all(keys.map((key) => db.get(key).catch(() => undefined)));
        // The database is being reopened: retry. Nothing is lost.
        if (db.status === "open" || this.#closing !== undefined) return values;
      }
    }
  }

  async *rows(prefix: string): AsyncGenerator<[key: string, text: string]> {
    const decoder = new TextDecoder();
    for await (const [key, value] of this.#db.iterator({ gte: prefix, lt: `${prefix}\uffff` }))
      yield [key, decoder.decode(value)];
  }

  recycle(value: Uint8Array): void {
    this.#large.recycle(value);
  }

  /** Deletes unreferenced large values. Call it before the first write. */
  keepLarge(isReferred: (key: string) => boolean): Promise<void> {
    return this.#large.keepOnly(isReferred);
  }

  /** Writes pending changes, unless the disk cannot be written. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#stop.abort();
    this.#reopened();
    await settledWithin(CLOSE_TIMEOUT_MS, this.#writing);
    await this.#db.close().catch(() => {});
  }

  async #writePending(): Promise<void> {
    await Promise.resolve();
    while (this.#onDurable.length > 0) {
      const changes = this.#changes;
      const onDurable = this.#onDurable;
      this.#changes = [];
      this.#onDurable = [];
      this.#bytes = 0;
      if (changes.length > 0 && !(await this.#commit(changes))) return;
      for (const callback of onDurable) callback();
    }
    // Nothing may be awaited between the loop's last check and this line: a change in between would never be written.
    this.#writing = undefined;
  }

  /** Retries until the changes are written. @returns false when the store was closed before */
  async #commit(changes: readonly Change[]): Promise<boolean> {
    for (let waitMs = RETRY_MS.first; ; waitMs = Math.min(2 * waitMs, RETRY_MS.longest)) {
      try {
        if (this.#failure !== undefined) await this.#reopen();
        await this.#writeAll(changes);
        this.#succeeded();
        return true;
      } catch (error) {
        const reason = messagesOf(error);
        this.#failed(reason);
        if (isDiskFull(reason)) await this.#large.delete(this.#makeRoom());
      }
      if (this.#closing !== undefined) return false;
      await delay(waitMs, this.#stop.signal);
      if (this.#closing !== undefined) return false;
    }
  }

  #succeeded(): void {
    if (this.#failure === undefined) return;
    this.#failure = undefined;
    this.#logger.info("outbox can be written again");
    this.#onFailureChange();
  }

  #failed(reason: string): void {
    const isNew = this.#failure === undefined;
    this.#failure = reason;
    if (!isNew) return;
    this.#logger.error({ path: this.#path, reason }, "outbox cannot be written, retrying");
    this.#onFailureChange();
  }

  async #writeAll(changes: readonly Change[]): Promise<void> {
    const large = new Map<string, Uint8Array>();
    const batch = this.#db.batch();
    for (const [key, value] of changes) {
      large.delete(key);
      if (value === undefined) batch.del(key);
      else if (typeof value === "string") batch.put(key, value, { valueEncoding: "utf8" });
      else if (isLarge(value)) large.set(key, value);
      else batch.put(key, value);
    }
    await this.#large.put(large);
    await batch.write({ sync: true });
    await this.#large.delete(changes.filter(([key]) => !large.has(key)).map(([key]) => key));
  }

  async #reopen(): Promise<void> {
    this.#reopening ??= new Promise((resolve) => {
      this.#reopened = resolve;
    });
    await this.#db.close();
    this.#db = await openLevel(this.#path, LEVEL_OPTIONS);
    this.#reopening = undefined;
    this.#reopened();
  }
}

export function isDiskFull(reason: string): boolean {
  return /ENOSPC|EDQUOT|no space left|quota exceeded/i.test(reason);
}

function isLarge({ length }: Uint8Array): boolean {
  return length >= MIN_LARGE_BYTES && length <= MAX_LARGE_BYTES;
}

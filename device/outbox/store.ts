import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { ClassicLevel } from "classic-level";
import type { Logger } from "pino";
import { isDamage, isLocked, messagesOf, StoreUnusableError } from "../../platform/level/errors.ts";
import { type OpenedStore, openLevel, openStore, repairStore } from "../../platform/level/open-store.ts";
import { LargeValues, MAX_LARGE_BYTES } from "./large-values.ts";

/** One change: a value to put, or undefined to delete. */
export type Change = readonly [key: string, value: string | Uint8Array | undefined];

type Database = ClassicLevel<string, Uint8Array>;

interface Opened {
  db: Database;
  large: LargeValues;
}

/**
 * A Raspberry Pi has little memory and the agent little to cache; larger buffers would only cost it. Fewer than 64 tables
 * LevelDB does not keep open, and smaller ones than 1 MB it does not make.
 */
const OPTIONS = {
  keyEncoding: "utf8",
  valueEncoding: "view",
  writeBufferSize: 512 * 1024,
  cacheSize: 1024 * 1024,
  maxOpenFiles: 64,
  maxFileSize: 1024 * 1024,
} as const;
/** Bytes: from there on a binary value is a file of its own, if it may be one. */
const LARGE_BYTES = 4096;
/** Freed at a time when the disk has no room to open the database. */
const ROOM_BYTES = 1024 * 1024;
/** After a write that failed: the first wait, which doubles, and the longest. Milliseconds. */
const RETRY_MS = { first: 500, longest: 30_000 };
/** How long `close` waits for what is being written, milliseconds. */
const CLOSE_MS = 2000;

/** The store cannot be opened, for a reason that is not damage; the message says what to do. */
export class OutboxUnusableError extends Error {
  override name = "OutboxUnusableError";
}

/** It was opened, but not all of it can be read. */
class UnreadableError extends Error {
  override name = "UnreadableError";
}

/**
 * The outbox' database: changes of one moment are one write, with fsync, so that a burst costs one. A write that fails
 * is tried again until it succeeds; LevelDB is opened anew for that, since after a failure its log may hold half a record.
 * Large values are files: durable before the database has the other changes of their moment, gone after it has.
 */
export class OutboxStore {
  readonly #path: string;
  readonly #logger: Logger;
  readonly #large: LargeValues;
  #db: Database;
  #changes: Change[] = [];
  #waiting: (() => void)[] = [];
  #bytes = 0;
  #writing: Promise<void> | undefined;
  #trouble: string | undefined;
  /** Pending while the database is closed, to be opened anew. */
  #open: Promise<void> | undefined;
  #opened: () => void = () => {};
  #closing: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #makeRoom: () => readonly string[] = () => [];
  #onTrouble: () => void = () => {};

  constructor(path: string, { db, large }: Opened, logger: Logger) {
    this.#path = path;
    this.#db = db;
    this.#large = large;
    this.#logger = logger;
  }

  /** What can go when the disk is full: asked before every new attempt to write. The keys' rows are to be deleted too. */
  onFull(makeRoom: () => readonly string[]): void {
    this.#makeRoom = makeRoom;
  }

  /** Called when {@link trouble} begins, and when it is over. */
  onTrouble(listener: () => void): void {
    this.#onTrouble = listener;
  }

  /** Undefined while writing works; else why it does not. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Bytes that wait to be written. */
  get waitingBytes(): number {
    return this.#bytes;
  }

  /** Calls back when the changes are durable; in the order of the calls. After `close` never. */
  write(changes: readonly Change[], onDurable: () => void): void {
    for (const change of changes) {
      this.#changes.push(change);
      this.#bytes += change[1]?.length ?? 0;
    }
    this.#waiting.push(onDurable);
    this.#writing ??= this.#drain();
  }

  /**
   * The values of the keys; undefined for each that is not there or cannot be read.
   * A large one is to be given back by {@link recycle} once nobody has it any more.
   */
  async read(keys: string[]): Promise<(Uint8Array | undefined)[]> {
    const values = await this.#readRows(keys);
    return Promise.all(keys.map((key, index) => (this.#large.has(key) ? this.#large.read(key) : values[index])));
  }

  async #readRows(keys: string[]): Promise<(Uint8Array | undefined)[]> {
    for (;;) {
      await this.#open;
      const db = this.#db;
      try {
        return await db.getMany(keys);
      } catch {
        // One unreadable block must not keep the others from being sent.
        const values = await Promise.all(keys.map((key) => db.get(key).catch(() => undefined)));
        // Of one that was closed meanwhile, to be opened anew, nothing can be read, and nothing is lost.
        if (db.status === "open" || this.#closing !== undefined) return values;
      }
    }
  }

  /** All rows whose keys begin so, in the order of their keys. */
  async *rows(prefix: string): AsyncGenerator<[key: string, text: string]> {
    const decoder = new TextDecoder();
    for await (const [key, value] of this.#db.iterator({ gte: prefix, lt: `${prefix}\uffff` }))
      yield [key, decoder.decode(value)];
  }

  recycle(value: Uint8Array): void {
    this.#large.recycle(value);
  }

  /** Removes the large values that no row refers to. To be called before anything is written. */
  keepLarge(referred: (key: string) => boolean): Promise<void> {
    return this.#large.keepOnly(referred);
  }

  /** Writes what waits, but does not wait for a disk that takes nothing. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#wake?.();
    this.#opened();
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_MS);
    });
    await Promise.race([this.#writing, limit]);
    clearTimeout(timer);
    await this.#db.close().catch(() => {});
  }

  async #drain(): Promise<void> {
    // What is said in the same moment goes along.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const changes = this.#changes;
      const waiting = this.#waiting;
      this.#changes = [];
      this.#waiting = [];
      this.#bytes = 0;
      if (changes.length > 0 && !(await this.#commit(changes))) return;
      for (const onDurable of waiting) onDurable();
    }
    // Here and not a moment later, when somebody may have more to write.
    this.#writing = undefined;
  }

  /** False when it was given up because the store closes. */
  async #commit(changes: readonly Change[]): Promise<boolean> {
    for (let waitMs = RETRY_MS.first; ; waitMs = Math.min(2 * waitMs, RETRY_MS.longest)) {
      try {
        if (this.#trouble !== undefined) await this.#reopen();
        await this.#writeAll(changes);
        if (this.#trouble !== undefined) {
          this.#trouble = undefined;
          this.#logger.info("outbox can be written again");
          this.#onTrouble();
        }
        return true;
      } catch (error) {
        const trouble = messagesOf(error);
        const isNew = this.#trouble === undefined;
        this.#trouble = trouble;
        if (isNew) {
          this.#logger.error({ path: this.#path, reason: trouble }, "outbox cannot be written, trying again");
          this.#onTrouble();
        }
        if (isFull(trouble)) await this.#large.delete(this.#makeRoom());
      }
      if (this.#closing !== undefined) return false;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, waitMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      if (this.#closing !== undefined) return false;
    }
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
    this.#open ??= new Promise((resolve) => {
      this.#opened = resolve;
    });
    await this.#db.close();
    this.#db = await openLevel(this.#path, OPTIONS);
    this.#open = undefined;
    this.#opened();
  }
}

/**
 * Opens the store, makes it if there is none, and reads it. A damaged one is repaired; what cannot be repaired is put
 * aside as `{path}.damaged` and a new one begun: a camera that sends what it sees from now on is worth more than one that
 * does not start.
 * @param read of what is damaged often only the reading tells; called again with what was repaired
 * @throws {OutboxUnusableError} in use by another process, or the folder cannot be written
 */
export async function openOutboxStore<T>(
  path: string,
  logger: Logger,
  read: (store: OutboxStore) => Promise<T>,
): Promise<T> {
  const opened = async (open: () => Promise<OpenedStore<Uint8Array>>): Promise<T> => {
    const store = new OutboxStore(path, await openAll(path, logger, open), logger);
    try {
      return await read(store);
    } catch (error) {
      await store.close();
      throw new UnreadableError("it cannot be read", { cause: error });
    }
  };
  const options = { folder: path, what: "the outbox", level: OPTIONS };
  try {
    return await opened(() => openStore(options));
  } catch (error) {
    if (!(error instanceof UnreadableError)) return await beginAnew(error);
    logger.error({ path, reason: messagesOf(error) }, "outbox is damaged, repairing it");
  }
  return await opened(() => repairStore(options, "it cannot be read")).catch(beginAnew);

  async function beginAnew(error: unknown): Promise<T> {
    if (!isDamage(error) && !(error instanceof UnreadableError)) throw unusable(path, error);
    const movedTo = `${path}.damaged`;
    logger.error({ path, movedTo, reason: messagesOf(error) }, "outbox cannot be repaired, starting with an empty one");
    await rm(movedTo, { recursive: true, force: true });
    await rename(path, movedTo);
    return await opened(() => openStore(options));
  }
}

function isLarge({ length }: Uint8Array): boolean {
  return length >= LARGE_BYTES && length <= MAX_LARGE_BYTES;
}

async function openAll(path: string, logger: Logger, open: () => Promise<OpenedStore<Uint8Array>>): Promise<Opened> {
  const { db, loss } = await openFirst(path, logger, open);
  if (loss !== undefined)
    logger.error({ path, reason: loss.reason }, "outbox was damaged and is repaired: messages may be missing");
  try {
    return { db, large: await LargeValues.open(path) };
  } catch (error) {
    await db.close();
    throw error;
  }
}

/** LevelDB writes while it opens. On a disk that is full the oldest pictures go: a camera must start, to say that it is. */
async function openFirst(
  path: string,
  logger: Logger,
  open: () => Promise<OpenedStore<Uint8Array>>,
): Promise<OpenedStore<Uint8Array>> {
  for (;;) {
    try {
      return await open();
    } catch (error) {
      if (!isFull(messagesOf(error)) || !(await LargeValues.makeRoom(path, ROOM_BYTES))) throw error;
      logger.warn({ path }, "the disk is full: the oldest previews are removed, so that the outbox can be opened");
    }
  }
}

function isFull(trouble: string): boolean {
  return /ENOSPC|EDQUOT|no space left|quota exceeded/i.test(trouble);
}

function unusable(path: string, error: unknown): OutboxUnusableError {
  const said = messagesOf(error instanceof StoreUnusableError ? error.cause : error);
  const reason = isLocked(error)
    ? "another process has it open: is a second agent running with the same DATA_PATH?"
    : `${said}${isFull(said) ? " (make room on that disk)" : ""}`;
  return new OutboxUnusableError(`the outbox in ${path} cannot be opened: ${reason}`, { cause: error });
}

/** Where the outbox of a camera is. */
export function outboxPath(dataPath: string): string {
  return join(dataPath, "outbox");
}

import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ClassicLevel } from "classic-level";
import type { Logger } from "pino";

/** One change: a value to put, or undefined to delete. */
export type Change = readonly [key: string, value: string | Uint8Array | undefined];

type Database = ClassicLevel<string, Uint8Array>;

/** A Raspberry Pi has little memory and the agent little to cache; larger buffers would only cost it. */
const OPTIONS = {
  keyEncoding: "utf8",
  valueEncoding: "view",
  writeBufferSize: 2 * 1024 * 1024,
  cacheSize: 1024 * 1024,
  maxOpenFiles: 64,
} as const;
/** After a write that failed: the first wait, which doubles, and the longest. Milliseconds. */
const RETRY_MS = { first: 500, longest: 30_000 };
/** How long `close` waits for what is being written, milliseconds. */
const CLOSE_MS = 2000;

/** The store cannot be opened, for a reason that is not damage; the message says what to do. */
export class OutboxUnusableError extends Error {
  override name = "OutboxUnusableError";
}

/**
 * The outbox' database: changes of one moment are one write, with fsync, so that a burst costs one. A write that fails
 * is tried again until it succeeds; LevelDB is opened anew for that, since after a failure its log may hold half a record.
 */
export class OutboxStore {
  readonly #path: string;
  readonly #logger: Logger;
  #db: Database;
  #changes: Change[] = [];
  #waiting: (() => void)[] = [];
  #bytes = 0;
  #writing: Promise<void> | undefined;
  #trouble: string | undefined;
  #closing: Promise<void> | undefined;
  #wake: (() => void) | undefined;

  constructor(path: string, db: Database, logger: Logger) {
    this.#path = path;
    this.#db = db;
    this.#logger = logger;
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

  /** The values of the keys; undefined for each that is not there or cannot be read. */
  async read(keys: string[]): Promise<(Uint8Array | undefined)[]> {
    try {
      return await this.#db.getMany(keys);
    } catch {
      // One unreadable block must not keep the others from being sent.
      return Promise.all(keys.map((key) => this.#db.get(key).catch(() => undefined)));
    }
  }

  /** All rows whose keys begin so, in the order of their keys. */
  async *rows(prefix: string): AsyncGenerator<[key: string, text: string]> {
    const decoder = new TextDecoder();
    for await (const [key, value] of this.#db.iterator({ gte: prefix, lt: `${prefix}\uffff` }))
      yield [key, decoder.decode(value)];
  }

  /** Writes what waits, but does not wait for a disk that takes nothing. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#wake?.();
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
        await writeAll(this.#db, changes);
        if (this.#trouble !== undefined) this.#logger.info("outbox can be written again");
        this.#trouble = undefined;
        return true;
      } catch (error) {
        const trouble = messages(error);
        if (this.#trouble === undefined)
          this.#logger.error({ path: this.#path, reason: trouble }, "outbox cannot be written, trying again");
        this.#trouble = trouble;
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

  async #reopen(): Promise<void> {
    await this.#db.close();
    this.#db = await openLevel(this.#path);
  }
}

/**
 * Opens the store and makes it if there is none. A damaged one is repaired; what cannot be repaired is put aside as
 * `{path}.damaged` and a new one begun: a camera that sends what it sees from now on is worth more than one that does
 * not start.
 * @throws {OutboxUnusableError} in use by another process, or the folder cannot be written
 */
export async function openOutboxStore(path: string, logger: Logger): Promise<OutboxStore> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw unusable(path, error);
  });
  try {
    if (await lacksCurrent(path)) throw new Error("no such file: CURRENT");
    return new OutboxStore(path, await openLevel(path), logger);
  } catch (error) {
    if (!isDamage(error)) throw unusable(path, error);
    logger.error({ path, reason: messages(error) }, "outbox is damaged, repairing it");
  }
  try {
    await ClassicLevel.repair(path);
    const db = await openLevel(path);
    logger.warn({ path }, "outbox was repaired: what was kept last may be missing");
    return new OutboxStore(path, db, logger);
  } catch (error) {
    const movedTo = `${path}.damaged`;
    logger.error({ path, movedTo, reason: messages(error) }, "outbox cannot be repaired, starting with an empty one");
    await rm(movedTo, { recursive: true, force: true });
    await rename(path, movedTo);
    return new OutboxStore(path, await openLevel(path), logger);
  }
}

async function openLevel(path: string): Promise<Database> {
  const db: Database = new ClassicLevel(path, OPTIONS);
  await db.open();
  return db;
}

async function writeAll(db: Database, changes: readonly Change[]): Promise<void> {
  const batch = db.batch();
  for (const [key, value] of changes) {
    if (value === undefined) batch.del(key);
    else if (typeof value === "string") batch.put(key, value, { valueEncoding: "utf8" });
    else batch.put(key, value);
  }
  await batch.write({ sync: true });
}

/** Tables without the file that names them: LevelDB would take that for no store and begin anew beside them. */
async function lacksCurrent(path: string): Promise<boolean> {
  const names: string[] = await readdir(path).catch(() => []);
  return names.some((name) => /^MANIFEST-|\.(ldb|log)$/.test(name)) && !names.includes("CURRENT");
}

function isDamage(error: unknown): boolean {
  return (
    !codes(error).includes("LEVEL_LOCKED") &&
    /corruption|no such file|does not exist|not an sstable/i.test(messages(error))
  );
}

function unusable(path: string, error: unknown): OutboxUnusableError {
  const reason = codes(error).includes("LEVEL_LOCKED")
    ? "another process has it open: is a second agent running with the same DATA_PATH?"
    : messages(error);
  return new OutboxUnusableError(`the outbox in ${path} cannot be opened: ${reason}`, { cause: error });
}

function codes(error: unknown): string[] {
  const found: string[] = [];
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if ("code" in cause && typeof cause.code === "string") found.push(cause.code);
  return found;
}

/** An error's message and those of its causes. */
function messages(error: unknown): string {
  const texts: string[] = [];
  for (let cause = error; cause instanceof Error && texts.length < 4; cause = cause.cause) texts.push(cause.message);
  return texts.length === 0 ? String(error) : texts.join(": ");
}

/** Where the outbox of a camera is. */
export function outboxPath(dataPath: string): string {
  return join(dataPath, "outbox");
}

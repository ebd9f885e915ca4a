import { type FileHandle, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import { messageOf } from "../../../../platform/errors.ts";
import { crc32c } from "../../../../platform/level/crc32c.ts";

/**
 * A copy of the broker's rows, in a file beside the store. When bytes of the store are flipped, LevelDB loses a whole
 * block or write, and with it sessions whose publications are intact. Each line is readable on its own:
 *
 * ```
 * CRC-32C of the rest of the line, 8 hexadecimal digits | space | JSON [version, key, value or null]
 * ```
 *
 * The row with the higher version is the newer one. A null value records that the row was removed. The copy is written
 * after the store and without sync: it may be a second behind.
 */
const FILE = "rows.copy";
/** Exists while the store is opened. If the program ends before the rows are restored, the next start restores them. */
const DOUBT_FILE = "rows.doubt";
const WRITE_DELAY_MS = 1_000;
/** New and removed rows are copied sooner: without its row, a session is lost. */
const URGENT_DELAY_MS = 20;
/** The file is rewritten when it has twice the size of the rows, and this much more. */
const SPARE_BYTES = 1024 * 1024;
const CHECKSUM_CHARS = 8;

export interface VersionedRow {
  version: number;
  /** Undefined: the row was removed. */
  value: string | undefined;
}

/** A row is stored as its version, a space and its value. */
export function rowText(version: number, value: string): string {
  return `${version} ${value}`;
}

export function readRow(text: string): { version: number; value: string } {
  const end = text.indexOf(" ");
  const version = end === -1 ? Number.NaN : Number(text.slice(0, end));
  // Not written by this class.
  if (!Number.isSafeInteger(version)) return { version: 0, value: text };
  return { version, value: text.slice(end + 1) };
}

interface StoredCopies {
  rows: Map<string, VersionedRow>;
  /** The number of lines that do not match their checksum. */
  unreadable: number;
  isMissing: boolean;
}

export async function readCopies(path: string): Promise<StoredCopies> {
  const stored: StoredCopies = { rows: new Map(), unreadable: 0, isMissing: false };
  const bytes = await readFile(join(path, FILE)).catch(() => undefined);
  if (bytes === undefined) return { ...stored, isMissing: true };
  for (let at = 0; at < bytes.length; ) {
    const newline = bytes.indexOf(10, at);
    const end = newline === -1 ? bytes.length : newline;
    if (end > at && !readLine(bytes.subarray(at, end), stored.rows)) stored.unreadable++;
    at = end + 1;
  }
  return stored;
}

/** Marks that the rows of the store are in doubt. @returns whether an earlier start has left them in doubt */
export async function beginDoubt(path: string): Promise<boolean> {
  return await writeFile(join(path, DOUBT_FILE), "", { flag: "wx", mode: 0o600 }).then(
    () => false,
    (error: unknown) => error instanceof Error && "code" in error && error.code === "EEXIST",
  );
}

export async function endDoubt(path: string): Promise<void> {
  await rm(join(path, DOUBT_FILE), { force: true });
}

interface RowCopiesOptions {
  /** The folder of the file. */
  path: string;
  /** All rows of the store. */
  rows: () => AsyncIterable<readonly [key: string, row: VersionedRow]>;
  logger: Logger;
}

/** Writes the copy. A failed write is retried, and stops nobody. */
export class RowCopies {
  readonly #options: RowCopiesOptions;
  readonly #file: string;
  /** The length of each row's newest line. */
  readonly #lengths = new Map<string, number>();
  #rowBytes = 0;
  #fileBytes = 0;
  #pending = new Map<string, VersionedRow>();
  #handle: FileHandle | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isUrgent = false;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: RowCopiesOptions) {
    this.#options = options;
    this.#file = join(options.path, FILE);
    // The first write replaces the file.
    this.#schedule(WRITE_DELAY_MS);
  }

  note(key: string, row: VersionedRow): void {
    this.#pending.set(key, row);
    const isUrgent = row.value === undefined || !this.#lengths.has(key);
    if (isUrgent && !this.#isUrgent) {
      this.#isUrgent = true;
      clearTimeout(this.#timer);
      this.#timer = undefined;
    }
    this.#schedule(isUrgent ? URGENT_DELAY_MS : WRITE_DELAY_MS);
  }

  /** Writes what is pending. Never rejects. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#write();
    clearTimeout(this.#timer);
    await this.#handle?.close().catch(() => {});
  }

  #schedule(delayMs: number): void {
    this.#timer ??= setTimeout(() => void this.#write(), delayMs).unref();
  }

  #write(): Promise<void> {
    this.#timer = undefined;
    this.#isUrgent = false;
    this.#writing = this.#writing
      .then(() => this.#writePending())
      .catch(async (error: unknown) => {
        this.#options.logger.debug({ why: messageOf(error) }, "the copy of the MQTT sessions is not written, retrying");
        // The file may end with a part of a line.
        await this.#handle?.close().catch(() => {});
        this.#handle = undefined;
        this.#schedule(WRITE_DELAY_MS);
      });
    return this.#writing;
  }

  async #writePending(): Promise<void> {
    if (this.#handle === undefined || this.#fileBytes > 2 * this.#rowBytes + SPARE_BYTES) await this.#rewrite();
    const pending = this.#pending;
    if (pending.size === 0) return;
    this.#pending = new Map();
    let text = "";
    for (const [key, row] of pending) text += this.#lineOf(key, row);
    try {
      await this.#handle?.appendFile(text);
    } catch (error) {
      for (const [key, row] of pending) if (!this.#pending.has(key)) this.#pending.set(key, row);
      throw error;
    }
  }

  async #rewrite(): Promise<void> {
    const handle = await open(`${this.#file}.new`, "w", 0o600);
    try {
      this.#lengths.clear();
      this.#rowBytes = 0;
      this.#fileBytes = 0;
      let text = "";
      for await (const [key, row] of this.#options.rows()) {
        text += this.#lineOf(key, row);
        if (text.length < SPARE_BYTES) continue;
        await handle.appendFile(text);
        text = "";
      }
      await handle.appendFile(text);
      await rename(`${this.#file}.new`, this.#file);
    } catch (error) {
      await handle.close();
      throw error;
    }
    await this.#handle?.close();
    this.#handle = handle;
  }

  #lineOf(key: string, { version, value }: VersionedRow): string {
    const content = JSON.stringify([version, key, value ?? null]);
    const bytes = Buffer.from(content);
    const line = `${crc32c(bytes, 0, bytes.length).toString(16).padStart(CHECKSUM_CHARS, "0")} ${content}\n`;
    this.#rowBytes -= this.#lengths.get(key) ?? 0;
    if (value === undefined) this.#lengths.delete(key);
    else {
      this.#lengths.set(key, line.length);
      this.#rowBytes += line.length;
    }
    this.#fileBytes += line.length;
    return line;
  }
}

/** @returns false if the line is unreadable */
function readLine(line: Buffer, rows: Map<string, VersionedRow>): boolean {
  const from = CHECKSUM_CHARS + 1;
  if (line.length <= from) return false;
  if (Number.parseInt(line.toString("latin1", 0, CHECKSUM_CHARS), 16) !== crc32c(line, from, line.length)) return false;
  const [version, key, value]: [number, string, string | null] = JSON.parse(line.toString("utf8", from));
  if ((rows.get(key)?.version ?? -1) <= version) rows.set(key, { version, value: value ?? undefined });
  return true;
}

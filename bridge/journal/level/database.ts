import { mkdir, open, readdir, readFile, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { ClassicLevel } from "classic-level";
import { messages, openTrouble } from "./trouble.ts";
import type { Database } from "./write-set.ts";

/** The journal cannot be opened; the message says what to do. */
export class JournalUnusableError extends Error {
  override name = "JournalUnusableError";
}

/** Free space beyond what the store's own log takes when it is rewritten at opening, bytes. */
const SPARE_BYTES = 512 * 1024;
const PROBE_BYTES = 64 * 1024;

const DATABASE_FOLDER = "log";

const OPTIONS = {
  keyEncoding: "utf8",
  valueEncoding: "utf8",
  // Four times the default: bursts are sorted in memory, not in many small files.
  writeBufferSize: 16 * 1024 * 1024,
  maxFileSize: 8 * 1024 * 1024,
} as const;

export interface OpenedDatabase {
  db: Database;
  /** Why part of what was in it may be missing, or undefined. */
  loss: string | undefined;
}

export function databasePath(path: string): string {
  return join(path, DATABASE_FOLDER);
}

/**
 * Opens the store and makes it if there is none.
 * @param repair tries to repair a damaged store, once; without it damage is an error
 * @throws {JournalUnusableError} in use by another process, not accessible, or damaged beyond repair
 */
export async function openDatabase(path: string, options: { repair: boolean }): Promise<OpenedDatabase> {
  const folder = databasePath(path);
  await mkdir(path, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw new JournalUnusableError(openTrouble(error, path), { cause: error });
  });
  // A folder without its CURRENT file is a damaged store; LevelDB would take it for none and begin anew.
  const createIfMissing = !(await holdsTables(folder));
  try {
    return { db: await openLevel(folder, createIfMissing), loss: await droppedAtOpening(folder) };
  } catch (error) {
    if (codeOf(error) === "LEVEL_LOCKED") throw lockedError(path, error);
    if (!options.repair || !isDamage(error)) throw new JournalUnusableError(openTrouble(error, path), { cause: error });
    return { db: await repairAndOpen(path, error), loss: `it was damaged and had to be repaired (${messages(error)})` };
  }
}

/** For a store that opened, but holds what cannot be read. */
export async function repairAndOpen(path: string, cause: unknown): Promise<Database> {
  const folder = databasePath(path);
  try {
    await ClassicLevel.repair(folder);
    return await openLevel(folder, false);
  } catch (error) {
    throw new JournalUnusableError(
      `${path} is damaged (${messages(cause)}) and could not be repaired (${messages(error)}): ` +
        "move the folder away to begin with an empty journal, or put a backup in its place",
      { cause: error },
    );
  }
}

async function openLevel(folder: string, createIfMissing: boolean): Promise<Database> {
  const db: Database = new ClassicLevel(folder, { ...OPTIONS, createIfMissing });
  await db.open();
  return db;
}

/**
 * Whether the store would take writes again, found out without touching it: while the disk is full it stays open, so
 * that reading goes on.
 * @throws what the disk says
 */
export async function probeDisk(path: string): Promise<void> {
  const folder = databasePath(path);
  let needed = SPARE_BYTES;
  for (const name of await readdir(folder)) if (name.endsWith(".log")) needed += (await stat(join(folder, name))).size;
  const { bavail, bsize } = await statfs(path);
  if (bavail * bsize < needed)
    throw new Error(`no space left on device: ${bavail * bsize} bytes are free, ${needed} are needed`);
  const probe = join(path, "probe");
  const file = await open(probe, "w", 0o600);
  try {
    await file.writeFile(Buffer.alloc(PROBE_BYTES));
    await file.datasync();
  } finally {
    await file.close();
    await rm(probe, { force: true });
  }
}

/** LevelDB opens a log with unreadable records without a word, but notes in its own log how much it left out. */
async function droppedAtOpening(folder: string): Promise<string | undefined> {
  const notes = await readFile(join(folder, "LOG"), "utf8").catch(() => "");
  const note = notes.split("\n").find((line) => /dropping \d+ bytes/.test(line));
  return note === undefined ? undefined : `its log has unreadable records (${note.trim()})`;
}

async function holdsTables(folder: string): Promise<boolean> {
  const names = await readdir(folder).catch(() => []);
  return names.some((name) => /^(MANIFEST-|CURRENT$)|\.(ldb|sst|log)$/.test(name));
}

function lockedError(path: string, cause: unknown): JournalUnusableError {
  return new JournalUnusableError(
    `${path} is in use: another process has it open. Stop that one, or give this one a DATA_PATH of its own`,
    { cause },
  );
}

function isDamage(error: unknown): boolean {
  if (codeOf(error) === "LEVEL_CORRUPTION") return true;
  return /corruption|no such file|does not exist|not an sstable/i.test(messages(error));
}

/** The code of an error or of what caused it: abstract-level wraps what went wrong at opening. */
function codeOf(error: unknown): string | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if ("code" in cause && typeof cause.code === "string" && cause.code !== "LEVEL_DATABASE_NOT_OPEN")
      return cause.code;
  return undefined;
}

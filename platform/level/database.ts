import { mkdir, open, readdir, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { type OpenedStore, openLevel, openStore, repairStore } from "./open-store.ts";
import type { Database } from "./write-set.ts";

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

export function databasePath(path: string): string {
  return join(path, DATABASE_FOLDER);
}

/**
 * Opens the store below `path`, makes it if there is none, and repairs it if it is damaged.
 * @param what it holds, for messages: "the journal"
 * @throws {StoreUnusableError} in use by another process, not accessible, or damaged beyond repair
 */
export function openDatabase(path: string, what: string): Promise<OpenedStore<string>> {
  return openStore({ folder: databasePath(path), what, level: OPTIONS });
}

/** For a store that opened, but holds what cannot be read; it is closed. @throws {StoreUnusableError} */
export function repairDatabase(path: string, what: string, cause: unknown): Promise<OpenedStore<string>> {
  return repairStore({ folder: databasePath(path), what, level: OPTIONS }, cause);
}

/** Opens a store again that this process had open. */
export function reopenDatabase(path: string): Promise<Database> {
  return openLevel(databasePath(path), { ...OPTIONS, createIfMissing: false });
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
  await mkdir(path, { recursive: true, mode: 0o700 });
  const file = await open(probe, "w", 0o600);
  try {
    await file.writeFile(Buffer.alloc(PROBE_BYTES));
    await file.datasync();
  } finally {
    await file.close();
    await rm(probe, { force: true });
  }
}

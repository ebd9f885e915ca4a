import { mkdir, open, readdir, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { type OpenedStore, openLevel, openStore, repairStore } from "./open-store.ts";
import type { Database } from "./write-set.ts";

/** Free bytes that are needed in addition to the size of the write-ahead log, which LevelDB rewrites at opening. */
const SPARE_BYTES = 512 * 1024;
const PROBE_BYTES = 64 * 1024;

const DATABASE_FOLDER = "log";

const OPTIONS = {
  keyEncoding: "utf8",
  valueEncoding: "utf8",
  // Four times the default, so that a burst of writes is sorted in memory.
  writeBufferSize: 16 * 1024 * 1024,
  maxFileSize: 8 * 1024 * 1024,
} as const;

export function databasePath(path: string): string {
  return join(path, DATABASE_FOLDER);
}

/** See {@link openStore}. @param what the content, for messages: "the journal" */
export function openDatabase(path: string, what: string): Promise<OpenedStore<string>> {
  return openStore({ folder: databasePath(path), what, level: OPTIONS });
}

export function repairDatabase(path: string, what: string, cause: unknown): Promise<OpenedStore<string>> {
  return repairStore({ folder: databasePath(path), what, level: OPTIONS }, cause);
}

export function reopenDatabase(path: string): Promise<Database> {
  return openLevel(databasePath(path), { ...OPTIONS, createIfMissing: false });
}

/** Checks, without touching the store, whether the disk accepts writes. @throws the disk's error */
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

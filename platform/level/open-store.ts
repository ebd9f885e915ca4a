import { mkdir, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ClassicLevel, type DatabaseOptions } from "classic-level";
import { diskFailure } from "./disk-failure.ts";
import { isDamage, isLocked, messagesOf, StoreUnusableError } from "./errors.ts";
import { ignoreMissing, type StoreScan, scanStore } from "./scan.ts";
import { type KeyRange, UNREADABLE_TYPE } from "./table-file.ts";

interface OpenStoreOptions<Value> {
  /** Created if missing. */
  folder: string;
  /** The content, for messages: "the journal". */
  what: string;
  level: DatabaseOptions<string, Value>;
}

/** Rows that a store may have lost. */
export interface Loss {
  /** For an operator. */
  reason: string;
  ranges: readonly KeyRange[];
  /** Whether all lost rows are in `ranges`. */
  isBounded: boolean;
  /** The unreadable parts of the write-ahead log, which may still contain the names of affected rows. */
  logParts: readonly Buffer[];
}

export interface OpenedStore<Value> {
  db: ClassicLevel<string, Value>;
  /** Undefined when nothing is missing. */
  loss: Loss | undefined;
}

/** The name of a file that exists while a repair runs, and that remains if the repair crashes the process. */
const REPAIR_MARKER = "repairing";

/**
 * Opens or creates a store. Checks all files, repairs damage once, and reports what may be missing.
 * @throws {StoreUnusableError} another process uses the store, it is damaged beyond repair, or the disk fails
 */
export async function openStore<Value>(options: OpenStoreOptions<Value>): Promise<OpenedStore<Value>> {
  const { folder } = options;
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    // LevelDB would create an empty store in the place of a damaged one without a CURRENT file.
    const isNew = !(await holdsStore(folder));
    const scan = await scanStore(folder);
    if (scan.tables.length > 0) return await repairAndOpen(options, await setAside(options, scan));
    return await openChecked(options, isNew, scan.logParts);
  } catch (error) {
    throw unusable(options, error);
  }
}

/** Repairs a store that holds unreadable rows. Close the store first. @throws {StoreUnusableError} */
export async function repairStore<Value>(options: OpenStoreOptions<Value>, cause: unknown) {
  try {
    await checkUnlocked(options);
    const { logParts } = await scanStore(options.folder);
    return await repairAndOpen(options, unboundedLoss(cause, logParts));
  } catch (error) {
    throw unusable(options, error);
  }
}

/** Opens a store without checking its files. */
export async function openLevel<Value>(folder: string, level: DatabaseOptions<string, Value>) {
  const db = new ClassicLevel<string, Value>(folder, level);
  await db.open();
  return db;
}

async function openChecked<Value>(
  options: OpenStoreOptions<Value>,
  createIfMissing: boolean,
  logParts: readonly Buffer[],
): Promise<OpenedStore<Value>> {
  const { folder, level } = options;
  let db: ClassicLevel<string, Value>;
  try {
    db = await openLevel(folder, { ...level, createIfMissing });
  } catch (error) {
    if (!isDamage(error)) throw error;
    return await repairAndOpen(options, unboundedLoss(error, logParts));
  }
  const note = await droppedNote(folder);
  if (note === undefined) return { db, loss: undefined };
  return { db, loss: { reason: `its log has unreadable records (${note})`, ranges: [], isBounded: false, logParts } };
}

function unboundedLoss(cause: unknown, logParts: readonly Buffer[]): Loss {
  const reason = `it was damaged and had to be repaired (${messagesOf(cause)})`;
  return { reason, ranges: [], isBounded: false, logParts };
}

/**
 * Makes damaged blocks unreadable, so that a repair leaves out exactly these blocks. LevelDB does not compare checksums
 * and would accept changed bytes as data.
 */
async function setAside<Value>(options: OpenStoreOptions<Value>, scan: StoreScan): Promise<Loss> {
  await checkUnlocked(options);
  const ranges: KeyRange[] = [];
  const reasons: string[] = [];
  let isBounded = true;
  for (const { file, damages } of scan.tables) {
    for (const damage of damages) {
      if (damage.kind === "table") {
        isBounded = false;
        reasons.push(`${file} cannot be read: ${damage.reason}`);
        continue;
      }
      await poison(file, damage.typeAt);
      if (damage.kind === "filter") continue;
      ranges.push(damage.range);
      reasons.push(`${damage.bytes} bytes of ${file} do not match their checksum`);
    }
  }
  return { reason: reasons.join("; "), ranges, isBounded, logParts: scan.logParts };
}

/** Throws only if another process has the store open: LevelDB would repair even such a store. */
async function checkUnlocked<Value>({ folder, level }: OpenStoreOptions<Value>): Promise<void> {
  await openLevel(folder, { ...level, createIfMissing: false }).then(
    (db) => db.close(),
    (error: unknown) => {
      if (isLocked(error)) throw error;
    },
  );
}

async function poison(file: string, at: number): Promise<void> {
  const handle = await open(file, "r+").catch(ignoreMissing);
  if (handle === undefined) return;
  try {
    await handle.write(Buffer.of(UNREADABLE_TYPE), 0, 1, at);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function repairAndOpen<Value>(options: OpenStoreOptions<Value>, loss: Loss): Promise<OpenedStore<Value>> {
  const { folder, level, what } = options;
  // Only filters are damaged, and LevelDB skips these: no row is lost.
  if (loss.reason === "") return await openChecked(options, false, loss.logParts);
  const marker = join(folder, REPAIR_MARKER);
  try {
    await writeFile(marker, "", { flag: "wx" }).catch((error: unknown) => {
      const isThere = error instanceof Error && "code" in error && error.code === "EEXIST";
      throw isThere ? new Error("an earlier repair crashed", { cause: error }) : error;
    });
    // A repair that fails without a crash may be tried again.
    await ClassicLevel.repair(folder).finally(() => rm(marker));
    const dropped = await droppedNote(folder);
    const db = await openLevel(folder, { ...level, createIfMissing: false });
    if (dropped === undefined) return { db, loss };
    const reason = `${loss.reason}; its log has unreadable records (${dropped})`;
    return { db, loss: { ...loss, reason, isBounded: false } };
  } catch (error) {
    if (isLocked(error)) throw error;
    const failure = diskFailure(error, folder);
    const advice = "restore a backup (skylapse restore), or move the folder away to start with an empty one";
    const why =
      failure === undefined
        ? `${what} in ${folder} is damaged (${loss.reason}) and could not be repaired (${messagesOf(error)}): ${advice}`
        : `${what} is damaged (${loss.reason}) and cannot be repaired because ${failure.meaning}: ${failure.remedy} and start again`;
    throw new StoreUnusableError(why, { cause: error });
  }
}

/** The dropped bytes of the write-ahead log, which LevelDB reports only in its own log file. */
async function droppedNote(folder: string): Promise<string | undefined> {
  const notes = await readFile(join(folder, "LOG"), "utf8").catch(() => "");
  const dropped = notes.split("\n").filter((line) => /dropping \d+ bytes/.test(line));
  if (dropped.length === 0) return undefined;
  const bytes = dropped.reduce((sum, line) => sum + Number(/dropping (\d+) bytes/.exec(line)?.[1] ?? 0), 0);
  return `dropping ${bytes} bytes`;
}

async function holdsStore(folder: string): Promise<boolean> {
  const names = await readdir(folder);
  return names.some((name) => /^(MANIFEST-|CURRENT$)|\.(ldb|sst|log)$/.test(name));
}

function unusable<Value>({ folder, what }: OpenStoreOptions<Value>, error: unknown): StoreUnusableError {
  if (error instanceof StoreUnusableError) return error;
  const failure = diskFailure(error, folder);
  const why = isLocked(error)
    ? `${folder} is in use: another process has it open. Stop that process, or set another DATA_PATH for this one`
    : failure === undefined
      ? `${what} in ${folder} cannot be opened: ${messagesOf(error)}`
      : `${what} cannot be opened because ${failure.meaning}: ${failure.remedy} and start again`;
  return new StoreUnusableError(why, { cause: error });
}

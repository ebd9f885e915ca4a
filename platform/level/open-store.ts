import { mkdir, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ClassicLevel, type DatabaseOptions } from "classic-level";
import { diskFailureReason } from "./disk-failure.ts";
import { isDamage, isLocked, messagesOf, StoreUnusableError } from "./errors.ts";
import { type StoreScan, scanStore } from "./scan.ts";
import { type KeyRange, UNREADABLE_TYPE } from "./table-file.ts";

export interface OpenStoreOptions<Value> {
  /** The folder of LevelDB's files; made when it is not there. */
  folder: string;
  /** What it holds, for messages: "the journal". */
  what: string;
  level: DatabaseOptions<string, Value>;
}

/** What was in a store and may not be there any more. */
export interface Loss {
  /** What was found, for an operator. */
  reason: string;
  /** Rows that are lost; of others see {@link isBounded}. */
  ranges: readonly KeyRange[];
  /** No other rows than those of `ranges` are concerned. */
  isBounded: boolean;
  /** What was left out of the write-ahead log, for the names in it. */
  logParts: readonly Buffer[];
}

export interface OpenedStore<Value> {
  db: ClassicLevel<string, Value>;
  /** Undefined when everything that was written is there. */
  loss: Loss | undefined;
}

/** While a repair runs; it stays when LevelDB ended the process over what it met. */
const REPAIR_MARK = "repairing";

/**
 * The one way to open a store: makes it if there is none, compares all of its files with their checksums, repairs what is
 * damaged, once, and says what may be missing.
 * @throws {StoreUnusableError} in use by another process, damaged beyond repair, or what the disk says
 */
export async function openStore<Value>(options: OpenStoreOptions<Value>): Promise<OpenedStore<Value>> {
  const { folder } = options;
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    // A folder without its CURRENT file is a damaged store; LevelDB would take it for none and begin anew.
    const isNew = !(await holdsStore(folder));
    const scan = await scanStore(folder);
    if (scan.tables.length > 0) return await repairAndOpen(options, await setAside(options, scan));
    return await openChecked(options, isNew, scan.logParts);
  } catch (error) {
    if (error instanceof StoreUnusableError) throw error;
    throw unusable(options, error);
  }
}

/** For a store that opened, but holds what cannot be read. It is to be closed before. @throws {StoreUnusableError} */
export async function repairStore<Value>(
  options: OpenStoreOptions<Value>,
  cause: unknown,
): Promise<OpenedStore<Value>> {
  try {
    await checkUnlocked(options);
    const { logParts } = await scanStore(options.folder);
    const reason = `it was damaged and had to be repaired (${messagesOf(cause)})`;
    return await repairAndOpen(options, { reason, ranges: [], isBounded: false, logParts });
  } catch (error) {
    if (error instanceof StoreUnusableError) throw error;
    throw unusable(options, error);
  }
}

/** Opens a store that is known to be sound, as after a write that failed. */
export async function openLevel<Value>(
  folder: string,
  level: DatabaseOptions<string, Value>,
): Promise<ClassicLevel<string, Value>> {
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
    const reason = `it was damaged and had to be repaired (${messagesOf(error)})`;
    return await repairAndOpen(options, { reason, ranges: [], isBounded: false, logParts });
  }
  const note = await droppedNote(folder);
  if (note === undefined) return { db, loss: undefined };
  return { db, loss: { reason: `its log has unreadable records (${note})`, ranges: [], isBounded: false, logParts } };
}

/**
 * Makes damaged blocks unreadable for LevelDB, which does not compare checksums and would take changed bytes for data:
 * a repair then leaves out these blocks and nothing else.
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

/** LevelDB repairs a store also while another process writes to it. Whatever else keeps it from opening, the repair sees to. */
async function checkUnlocked<Value>({ folder, level }: OpenStoreOptions<Value>): Promise<void> {
  await openLevel(folder, { ...level, createIfMissing: false }).then(
    (db) => db.close(),
    (error: unknown) => {
      if (isLocked(error)) throw error;
    },
  );
}

async function poison(file: string, at: number): Promise<void> {
  const handle = await open(file, "r+").catch((error: unknown) => {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  });
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
  // A filter alone is left out when it is read: nothing is lost, and nothing is to be repaired.
  if (loss.reason === "") return await openChecked(options, false, loss.logParts);
  const mark = join(folder, REPAIR_MARK);
  try {
    await writeFile(mark, "", { flag: "wx" }).catch((error: unknown) => {
      const isThere = error instanceof Error && "code" in error && error.code === "EEXIST";
      throw isThere ? new Error("an earlier repair did not come to its end", { cause: error }) : error;
    });
    // A repair that fails, as on a full disk, may be tried again: it did not end the process.
    await ClassicLevel.repair(folder).finally(() => rm(mark));
    const dropped = await droppedNote(folder);
    const db = await openLevel(folder, { ...level, createIfMissing: false });
    if (dropped === undefined) return { db, loss };
    return {
      db,
      loss: { ...loss, reason: `${loss.reason}; its log has unreadable records (${dropped})`, isBounded: false },
    };
  } catch (error) {
    if (isLocked(error)) throw error;
    const unavailableReason = diskFailureReason(error, folder);
    if (unavailableReason !== undefined)
      throw new StoreUnusableError(
        `${what} is damaged (${loss.reason}) and cannot be repaired, ${unavailableReason.meaning}: ${unavailableReason.remedy} and start again`,
        { cause: error },
      );
    throw new StoreUnusableError(
      `${what} in ${folder} is damaged (${loss.reason}) and could not be repaired (${messagesOf(error)}): ` +
        "move the folder away to begin with an empty one, or put back a backup (skylapse restore)",
      { cause: error },
    );
  }
}

/** LevelDB opens a log with unreadable records without a word, but notes in its own log how much it left out. */
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
  if (isLocked(error))
    return new StoreUnusableError(
      `${folder} is in use: another process has it open. Stop that one, or give this one a DATA_PATH of its own`,
      { cause: error },
    );
  const unavailableReason = diskFailureReason(error, folder);
  return new StoreUnusableError(
    unavailableReason === undefined
      ? `${what} in ${folder} cannot be opened: ${messagesOf(error)}`
      : `${what} cannot be opened, ${unavailableReason.meaning}: ${unavailableReason.remedy} and start again`,
    { cause: error },
  );
}

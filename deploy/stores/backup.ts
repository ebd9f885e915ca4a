import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { copyFile, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, relative, resolve, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { z } from "zod";
import { archiveFile } from "../../bridge/journal/archive/config.ts";
import { markRestored } from "../../bridge/journal/stores/level/checkpoint.ts";
import { noteBackup } from "../../bridge/stats/last-backup.ts";
import { reasonOf } from "../../platform/error-reason.ts";
import { messagesOf } from "../../platform/level/errors.ts";
import { openLevel } from "../../platform/level/open-store.ts";
import { scanStore } from "../../platform/level/scan.ts";
import { copyArchive } from "./archive-file.ts";
import { BackupError } from "./backup-error.ts";
import { damageFile } from "./damage-log.ts";
import { isSetAside, storeFolders } from "./store-folders.ts";
import { demandFinishedRestore, restoring } from "./unfinished-restore.ts";

/** The most rounds of copying a store while a server writes to the store. Each round copies only new files and logs. */
const MAX_ROUNDS = 50;
const CATALOG = "backup.json";
/** LevelDB files that a copy does not need, and unfinished writes. */
const NOT_COPIED = /^(LOCK|LOG|LOG\.old|probe|repairing|lost)$|\.new$|\.tmp$/;
/** The simulated cameras create their data again, and what an earlier version has left is in the journal. */
const isNotBackedUp = (path: string) => path === "simulator" || isSetAside(path);

const catalogSchema = z.object({
  version: z.literal(1),
  madeAt: z.string(),
  files: z.array(z.object({ path: z.string(), bytes: z.number(), sha256: z.string() })),
});
type Catalog = z.infer<typeof catalogSchema>;

/**
 * Copies a DATA_PATH, even while the server runs.
 * @throws {BackupError}
 */
export async function backUp(dataPath: string, target: string): Promise<Catalog> {
  if (!isOutside(dataPath, target)) throw new BackupError(`${target} is inside ${dataPath}: use another folder`);
  if ((await stat(dataPath).catch(() => undefined)) === undefined)
    throw new BackupError(`${dataPath} does not exist: set DATA_PATH or --data-path to the data of the server`);
  demandFinishedRestore(dataPath);
  await mustBeEmpty(target);
  const stores = Object.values(storeFolders(dataPath));
  for (const folder of stores) {
    if ((await stat(folder).catch(() => undefined)) === undefined) continue;
    await copyStore(folder, join(target, relative(dataPath, folder)));
  }
  const archive = archiveFile(dataPath);
  await copyFiles(
    dataPath,
    target,
    (path) => stores.includes(path) || path.startsWith(archive) || isNotBackedUp(relative(dataPath, path)),
  );
  if (existsSync(archive)) copyArchive(archive, archiveFile(target));
  // The record describes damage of this server, not of the copy.
  await rm(damageFile(target), { force: true });
  const catalog: Catalog = { version: 1, madeAt: new Date().toISOString(), files: await listFiles(target) };
  await writeFile(join(target, CATALOG), JSON.stringify(catalog, undefined, 2), { mode: 0o600 });
  // The note is for the page. A copy of data that is read-only is complete without the note.
  await noteBackup(dataPath, catalog.madeAt).catch(() => {});
  return catalog;
}

/**
 * Restores a backup to an empty DATA_PATH. The journal begins a new epoch at the next start, because clients may have
 * received events that are missing in the backup.
 * @throws {BackupError} the backup is incomplete, or DATA_PATH is not empty
 */
export async function restore(source: string, dataPath: string): Promise<Catalog> {
  const catalog = await readCatalog(source);
  for (const { path, bytes, sha256 } of catalog.files) {
    const file = join(source, path);
    // The catalog is untrusted: anybody may have written the file.
    if (isOutside(source, file))
      throw new BackupError(
        `${join(source, CATALOG)} names ${path}, which is outside of ${source}: use another backup`,
      );
    const found = await hashOf(file).catch(() => undefined);
    if (found?.sha256 !== sha256 || found.bytes !== bytes)
      throw new BackupError(`${file} has changed since the backup was made: use another backup`);
  }
  await mustBeEmpty(dataPath);
  await restoring(dataPath, async () => {
    for (const { path } of catalog.files) {
      const file = join(dataPath, path);
      await mkdir(dirname(file), { recursive: true, mode: 0o700 });
      await copyFile(join(source, path), file);
    }
    if (catalog.files.some(({ path }) => path.startsWith(`journal${sep}`)))
      await markRestored(join(dataPath, "journal"));
  });
  return catalog;
}

async function readCatalog(source: string): Promise<Catalog> {
  try {
    return catalogSchema.parse(JSON.parse(await readFile(join(source, CATALOG), "utf8")));
  } catch (error) {
    throw new BackupError(`${source} is not a complete backup: it has no readable ${CATALOG}`, { cause: error });
  }
}

/**
 * LevelDB never changes its tables and only appends to its logs and its manifest. A copy is therefore consistent if the
 * list of files and the size of the manifest are the same before and after copying.
 */
async function copyStore(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true, mode: 0o700 });
  let failure: unknown = new Error("its files change too fast");
  for (let round = 0; round < MAX_ROUNDS; round++) {
    try {
      const before = await namesOf(from);
      for (const name of before) await copyNew(join(from, name), join(to, name));
      if (!(await isSame(from, to, before))) continue;
      await check(to);
      return;
    } catch (error) {
      // LevelDB deleted a listed file, or the copy is inconsistent: the next round copies again.
      failure = error;
    }
  }
  throw new BackupError(`${from} could not be copied: ${messagesOf(failure)}`, { cause: failure });
}

/** Sorts tables before the manifest and the logs, so that the copy contains all tables that the manifest names. */
async function namesOf(folder: string): Promise<string[]> {
  const names = (await readdir(folder, { withFileTypes: true }))
    .filter((entry) => entry.isFile() && !NOT_COPIED.test(entry.name))
    .map(({ name }) => name);
  const rank = (name: string) => (/\.(ldb|sst)$/.test(name) ? 0 : name.startsWith("MANIFEST") ? 1 : 2);
  return names.sort((one, other) => rank(one) - rank(other) || (one < other ? -1 : 1));
}

async function copyNew(from: string, to: string): Promise<void> {
  const copied = await stat(to).catch(() => undefined);
  if (/\.(ldb|sst)$/.test(from) && copied?.size === (await stat(from)).size) return;
  await copyFile(from, to);
}

async function isSame(from: string, to: string, names: readonly string[]): Promise<boolean> {
  const now = await namesOf(from);
  for (const name of await namesOf(to)) if (!now.includes(name)) await rm(join(to, name));
  if (now.join() !== names.join()) return false;
  for (const name of names) {
    if (name.endsWith(".log")) continue;
    if ((await stat(join(from, name))).size !== (await stat(join(to, name))).size) return false;
  }
  return true;
}

/** @throws {Error} the copy has wrong checksums or cannot be opened, because files changed during copying */
async function check(folder: string): Promise<void> {
  const { tables, logParts } = await scanStore(folder);
  if (tables.length + logParts.length > 0)
    throw new Error("the copy does not match its checksums: run skylapse verify to see what is damaged");
  const db = await openLevel(folder, { createIfMissing: false });
  await db.close();
  for (const name of await readdir(folder)) if (NOT_COPIED.test(name)) await rm(join(folder, name), { force: true });
}

async function copyFiles(from: string, to: string, skips: (path: string) => boolean): Promise<void> {
  await mkdir(to, { recursive: true, mode: 0o700 });
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const path = join(from, entry.name);
    if (skips(path) || NOT_COPIED.test(entry.name)) continue;
    if (entry.isDirectory()) await copyFiles(path, join(to, entry.name), skips);
    // The server may have deleted a picture after the listing.
    else if (entry.isFile()) await copyFile(path, join(to, entry.name)).catch(ignoreMissing);
  }
}

function ignoreMissing(error: unknown): void {
  if (reasonOf(error) !== "ENOENT") throw error;
}

async function listFiles(folder: string): Promise<Catalog["files"]> {
  const files: Catalog["files"] = [];
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    const path = relative(folder, join(entry.parentPath, entry.name));
    files.push({ path, ...(await hashOf(join(folder, path))) });
  }
  return files.sort((one, other) => (one.path < other.path ? -1 : 1));
}

async function hashOf(file: string) {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return { bytes: (await stat(file)).size, sha256: hash.digest("hex") };
}

async function mustBeEmpty(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  if ((await readdir(folder)).length > 0)
    throw new BackupError(`${folder} is not empty: use an empty or a new folder, or move its files away`);
}

function isOutside(folder: string, path: string): boolean {
  const fromFolder = relative(resolve(folder), resolve(path));
  return fromFolder === ".." || fromFolder.startsWith(`..${sep}`);
}

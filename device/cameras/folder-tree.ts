import { lstat, readdir, realpath, stat } from "node:fs/promises";
import { join, sep } from "node:path";
import { messageOf } from "../../platform/errors.ts";

const PICTURE = /^[^.].*\.jpe?g$/i;
/** Excludes hidden folders, and a network drive's thumbnails (`@eaDir`) and deleted files (`#recycle`). */
const FOLDER = /^[^.@#]/;
const BATCH_SIZE = 256;
/** A changed folder is listed again for this long, because FAT has a time resolution of two seconds. */
const RELIST_MS = 5000;

/** A picture file. An overwritten file is another picture. */
export interface FoundFile {
  /** Relative to the watched folder: `2026/11/29/0001.jpg`. */
  path: string;
  name: string;
  size: number;
  modifiedMs: number;
  /**
   * When the file was first seen with this size and modification time, by `performance.now()`: `modifiedMs` may come
   * from the clock of another machine.
   */
  seenAt: number;
  isInitial: boolean;
  /** Why processing failed, and when to retry, by `performance.now()`. */
  failed?: { problem?: string; retryAt: number };
}

export interface FolderTreeOptions {
  path: string;
  /** Levels of subfolders. 0: only the folder itself. */
  maxDepth: number;
  maxFolders: number;
  maxFiles: number;
  /** A file that has changed within this time is checked by quick scans too. */
  settleMs: number;
}

export interface ScanResult {
  /** False when missing files may still exist, because a folder could not be read. */
  complete: boolean;
  problems: string[];
}

interface Folder {
  depth: number;
  modifiedMs: number;
  changedAt: number;
}

/**
 * The picture files of the last scan. A full scan checks every file. A quick scan checks every folder but only pending
 * files: it is cheap even with 100,000 pictures, and misses only overwritten files.
 */
export class FolderTree {
  readonly #options: FolderTreeOptions;
  readonly #folders = new Map<string, Folder>();
  readonly #files = new Map<string, FoundFile>();
  readonly #pending = new Map<string, FoundFile>();
  #result: ScanResult = { complete: true, problems: [] };
  #isFirstScan = true;
  /** Because of the limits, the last full scan skipped these folders, and all files up to `#skippedFilesUpTo`. */
  readonly #skippedFolders = new Set<string>();
  #skippedFilesUpTo = "";

  constructor(options: FolderTreeOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#files.size;
  }

  names(): Set<string> {
    return new Set(Array.from(this.#files.values(), ({ name }) => name));
  }

  /** New or changed files, oldest first. Those of the first scan come last: they must not delay new pictures. */
  pending(): FoundFile[] {
    return [...this.#pending.values()].sort(
      (a, b) => Number(a.isInitial) - Number(b.isInitial) || a.modifiedMs - b.modifiedMs || (a.path < b.path ? -1 : 1),
    );
  }

  /** Marks a pending file as processed. */
  done(file: FoundFile): void {
    if (this.#pending.get(file.path) === file) this.#pending.delete(file.path);
  }

  /** @throws when the folder itself cannot be read */
  async fullScan(): Promise<ScanResult> {
    this.#result = { complete: true, problems: [] };
    const folders = new Map<string, Folder>();
    this.#skippedFolders.clear();
    const paths = await this.#walk("", 0, folders);
    this.#folders.clear();
    for (const [path, folder] of folders) this.#folders.set(path, folder);
    await this.#update(this.#limited(paths));
    const existing = new Set(paths);
    for (const path of [...this.#files.keys()]) if (!existing.has(path)) this.#removeFile(path);
    this.#isFirstScan = false;
    return this.#result;
  }

  /** @throws when the folder itself cannot be read */
  async quickScan(): Promise<ScanResult> {
    this.#result = { complete: true, problems: [] };
    const changed: string[] = [];
    await inBatches([...this.#folders], async ([path, folder]) => {
      const modifiedMs = await this.#modifiedMsOf(path);
      if (modifiedMs === undefined) this.#removeFolder(path);
      else if (modifiedMs !== folder.modifiedMs || performance.now() - folder.changedAt < RELIST_MS) changed.push(path);
    });
    const unsettled = [...this.#pending.values()].filter((file) => this.#mayChange(file));
    const paths = new Set(unsettled.map(({ path }) => path));
    for (const path of changed) {
      const known = this.#folders.get(path);
      if (known === undefined) continue;
      const found = await this.#walk(path, known.depth, this.#folders);
      const existing = new Set(found);
      for (const file of [...this.#files.keys()])
        if (folderOf(file) === path && !existing.has(file)) this.#removeFile(file);
      for (const file of found) if (!this.#files.has(file) && file > this.#skippedFilesUpTo) paths.add(file);
    }
    await this.#update([...paths]);
    return this.#result;
  }

  /** Undefined when the file does not exist, is no file, or is a link that leaves the folder. */
  async stateOf(path: string): Promise<Pick<FoundFile, "path" | "name" | "size" | "modifiedMs"> | undefined> {
    const full = join(this.#options.path, path);
    try {
      let stats = await lstat(full);
      if (stats.isSymbolicLink()) {
        const root = await realpath(this.#options.path);
        if (!(await realpath(full)).startsWith(root + sep)) return undefined;
        stats = await stat(full);
      }
      if (!stats.isFile()) return undefined;
      const { size, mtimeMs } = stats;
      return { path, name: `${path}/${size}/${Math.round(mtimeMs)}`, size, modifiedMs: mtimeMs };
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** Lists a folder, and those of its subfolders that are not in `folders` yet. @returns the paths of the pictures */
  async #walk(path: string, depth: number, folders: Map<string, Folder>): Promise<string[]> {
    const { maxDepth, maxFolders } = this.#options;
    // The folder's time is read before the listing: a file that is created during the listing then gives the folder a
    // newer time.
    const modifiedMs = await this.#modifiedMsOf(path);
    if (modifiedMs === undefined) return [];
    const known = this.#folders.get(path);
    const changedAt = known?.modifiedMs === modifiedMs ? known.changedAt : performance.now();
    folders.set(path, { depth, modifiedMs, changedAt });
    const entries = (await this.#ofFolder(path, (folder) => readdir(folder, { withFileTypes: true }))) ?? [];
    const pictures = entries.filter((entry) => PICTURE.test(entry.name) && !entry.isDirectory());
    const found = pictures.map(({ name }) => pathIn(path, name));
    if (depth >= maxDepth) return found;
    // Names are mostly dates, so the newest folders have the last names.
    const inner = entries.filter((entry) => entry.isDirectory() && FOLDER.test(entry.name)).map(({ name }) => name);
    for (const name of inner.sort().reverse()) {
      if (folders.has(pathIn(path, name)) || this.#skippedFolders.has(pathIn(path, name))) continue;
      // Only full scans apply the limit.
      if (folders.size >= maxFolders && folders !== this.#folders) {
        this.#skippedFolders.add(pathIn(path, name));
        this.#result.problems.push(
          `${this.#options.path} has more than ${maxFolders} folders: only those with the last names are watched, move the old ones away`,
        );
        continue;
      }
      // The paths are added one by one, because a folder may have more files than a call of `push` may have arguments.
      for (const file of await this.#walk(pathIn(path, name), depth + 1, folders)) found.push(file);
    }
    return found;
  }

  async #modifiedMsOf(path: string): Promise<number | undefined> {
    return (await this.#ofFolder(path, (folder) => stat(folder)))?.mtimeMs;
  }

  /** @throws when the watched folder itself cannot be read */
  async #ofFolder<T>(path: string, read: (folder: string) => Promise<T>): Promise<T | undefined> {
    try {
      return await read(join(this.#options.path, path));
    } catch (error) {
      if (path === "") throw error;
      if (!isNotFound(error)) this.#failed(error);
      return undefined;
    }
  }

  /** The paths that the limit allows: those with the last names. */
  #limited(paths: string[]): string[] {
    const { path, maxFiles } = this.#options;
    this.#skippedFilesUpTo = "";
    if (paths.length <= maxFiles) return paths;
    this.#result.problems.push(
      `${path} has ${paths.length} pictures: only the last ${maxFiles} are watched, move the old ones away`,
    );
    paths.sort();
    this.#skippedFilesUpTo = paths[paths.length - maxFiles - 1] ?? "";
    return paths.slice(-maxFiles);
  }

  async #update(paths: readonly string[]): Promise<void> {
    await inBatches(paths, async (path) => {
      try {
        const state = await this.stateOf(path);
        if (state === undefined) this.#removeFile(path);
        else if (this.#files.get(path)?.name !== state.name) {
          const file = { ...state, seenAt: performance.now(), isInitial: this.#isFirstScan };
          this.#files.set(path, file);
          this.#pending.set(path, file);
        }
      } catch (error) {
        this.#failed(error);
      }
    });
  }

  #mayChange({ seenAt, failed }: FoundFile): boolean {
    return failed !== undefined || performance.now() - seenAt < this.#options.settleMs;
  }

  #removeFile(path: string): void {
    this.#files.delete(path);
    this.#pending.delete(path);
  }

  #removeFolder(path: string): void {
    this.#folders.delete(path);
    for (const file of [...this.#files.keys()]) if (folderOf(file) === path) this.#removeFile(file);
  }

  #failed(error: unknown): void {
    this.#result.complete = false;
    this.#result.problems.push(messageOf(error));
  }
}

export function isNotFound(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

function pathIn(folder: string, name: string): string {
  return folder === "" ? name : `${folder}/${name}`;
}

function folderOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

async function inBatches<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  for (let from = 0; from < all.length; from += BATCH_SIZE)
    await Promise.all(all.slice(from, from + BATCH_SIZE).map(work));
}

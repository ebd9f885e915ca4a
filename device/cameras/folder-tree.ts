import type { Dirent } from "node:fs";
import { lstat, readdir, realpath, stat } from "node:fs/promises";
import { join, sep } from "node:path";

const PICTURE = /^[^.].*\.jpe?g$/i;
/** Not hidden folders, nor those in which network drives keep thumbnails (`@eaDir`) and deleted files (`#recycle`). */
const FOLDER = /^[^.@#]/;
const AT_ONCE = 256;
/**
 * A folder is listed again for so long after its time of change has moved: on FAT that time has steps of two seconds, so
 * that a file may come without moving it.
 */
const RELIST_MS = 5000;

/** A picture file in one state: a file that is written over is another picture. */
export interface FoundFile {
  /** Below the folder, such as `2026/11/29/0001.jpg`. */
  path: string;
  /** Names the file in this state. */
  name: string;
  size: number;
  modifiedMs: number;
  /** When it was first seen in this state, by a clock that nobody sets: the folder's own may be another machine's. */
  seenAt: number;
  /** It was there at the first look. */
  early: boolean;
  /** Why nothing could be done with it, and when to try again though it has not changed, by the same clock. */
  failed?: { problem?: string; tryAt: number };
}

export interface FolderTreeOptions {
  path: string;
  /** Levels of sub-folders. 0: the folder itself only. */
  maxDepth: number;
  maxFolders: number;
  maxFiles: number;
  /** A file that has changed is asked for its state at every look for so long, milliseconds. */
  settleMs: number;
}

/** What a look has found. */
export interface Look {
  /** False when something could not be read: what is missing may still be there. */
  complete: boolean;
  /** What an operator is to know. */
  problems: string[];
}

interface Folder {
  depth: number;
  modifiedMs: number;
  /** When the change of its time was noticed, by a clock that nobody sets. */
  changedAt: number;
}

/**
 * The picture files in a folder and its sub-folders, as they were at the last look. A look at everything asks for the
 * state of each file. A look at what is new asks for that of each folder and of the files that are open: it costs little
 * in a folder of 100,000 pictures, and misses only a file that is written over in its place.
 */
export class FolderTree {
  readonly #options: FolderTreeOptions;
  readonly #folders = new Map<string, Folder>();
  readonly #files = new Map<string, FoundFile>();
  /** Files with which nothing was done yet in the state they are in. */
  readonly #open = new Map<string, FoundFile>();
  #look: Look = { complete: true, problems: [] };
  #isFirst = true;
  /** What the last look at everything left out as too many: these folders, and the files up to this path. */
  readonly #foldersLeftOut = new Set<string>();
  #filesLeftOut = "";

  constructor(options: FolderTreeOptions) {
    this.#options = options;
  }

  /** How many files there are. */
  get size(): number {
    return this.#files.size;
  }

  names(): Set<string> {
    return new Set(Array.from(this.#files.values(), ({ name }) => name));
  }

  /**
   * Files that are new, or were changed, and are not {@link close}d; oldest first, but after those that came since the
   * first look: thousands that were there at the start must not make the camera late.
   */
  open(): FoundFile[] {
    return [...this.#open.values()].sort(
      (a, b) => Number(a.early) - Number(b.early) || a.modifiedMs - b.modifiedMs || (a.path < b.path ? -1 : 1),
    );
  }

  /** Nothing more is to be done with a file in its present state. */
  close(file: FoundFile): void {
    if (this.#open.get(file.path) === file) this.#open.delete(file.path);
  }

  /** @throws when the folder itself cannot be read */
  async lookAtAll(): Promise<Look> {
    this.#look = { complete: true, problems: [] };
    const folders = new Map<string, Folder>();
    this.#foldersLeftOut.clear();
    const paths = await this.#walk("", 0, folders);
    this.#folders.clear();
    for (const [path, folder] of folders) this.#folders.set(path, folder);
    await this.#update(this.#newest(paths));
    const there = new Set(paths);
    for (const path of [...this.#files.keys()]) if (!there.has(path)) this.#forget(path);
    this.#isFirst = false;
    return this.#look;
  }

  /** @throws when the folder itself cannot be read */
  async lookAtNew(): Promise<Look> {
    this.#look = { complete: true, problems: [] };
    const changed: string[] = [];
    await inBatches([...this.#folders], async ([path, folder]) => {
      const modifiedMs = await this.#timeOf(path);
      if (modifiedMs === undefined) this.#forgetFolder(path);
      else if (modifiedMs !== folder.modifiedMs || performance.now() - folder.changedAt < RELIST_MS) changed.push(path);
    });
    const unsettled = [...this.#open.values()].filter((file) => this.#mayChange(file));
    const paths = new Set(unsettled.map(({ path }) => path));
    for (const path of changed) {
      const known = this.#folders.get(path);
      if (known === undefined) continue;
      const found = await this.#walk(path, known.depth, this.#folders);
      const there = new Set(found);
      for (const file of [...this.#files.keys()]) if (folderOf(file) === path && !there.has(file)) this.#forget(file);
      for (const file of found) if (!this.#files.has(file) && file > this.#filesLeftOut) paths.add(file);
    }
    await this.#update([...paths]);
    return this.#look;
  }

  /** The state of one file now; undefined when it is gone, no file, or a link that leads out of the folder. */
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
      if (isGone(error)) return undefined;
      throw error;
    }
  }

  /** Lists a folder, and those below it that `folders` does not have. @returns the pictures' paths */
  async #walk(path: string, depth: number, folders: Map<string, Folder>): Promise<string[]> {
    const { maxDepth, maxFolders } = this.#options;
    // Asked for before the listing: a file that comes during it moves the time once more.
    const modifiedMs = await this.#timeOf(path);
    if (modifiedMs === undefined) return [];
    const known = this.#folders.get(path);
    const changedAt = known?.modifiedMs === modifiedMs ? known.changedAt : performance.now();
    folders.set(path, { depth, modifiedMs, changedAt });
    const entries = await this.#list(path);
    const pictures = entries.filter((entry) => PICTURE.test(entry.name) && !entry.isDirectory());
    const found = pictures.map(({ name }) => below(path, name));
    if (depth >= maxDepth) return found;
    // Names are mostly dates: of too many folders the newest are looked into.
    const inner = entries.filter((entry) => entry.isDirectory() && FOLDER.test(entry.name)).map(({ name }) => name);
    for (const name of inner.sort().reverse()) {
      if (folders.has(below(path, name)) || this.#foldersLeftOut.has(below(path, name))) continue;
      // A look at what is new adds to those that are known already: the next look at everything puts that right.
      if (folders.size >= maxFolders && folders !== this.#folders) {
        this.#foldersLeftOut.add(below(path, name));
        this.#look.problems.push(
          `${this.#options.path} has more than ${maxFolders} folders: those with the last names are looked into, move the old ones away`,
        );
        continue;
      }
      // Not spread: a folder may have more files than a call may have arguments.
      for (const file of await this.#walk(below(path, name), depth + 1, folders)) found.push(file);
    }
    return found;
  }

  async #list(path: string): Promise<Dirent[]> {
    try {
      return await readdir(join(this.#options.path, path), { withFileTypes: true });
    } catch (error) {
      if (path === "") throw error;
      if (!isGone(error)) this.#note(error);
      return [];
    }
  }

  async #timeOf(path: string): Promise<number | undefined> {
    try {
      return (await stat(join(this.#options.path, path))).mtimeMs;
    } catch (error) {
      if (path === "") throw error;
      if (!isGone(error)) this.#note(error);
      return undefined;
    }
  }

  #newest(paths: string[]): string[] {
    const { path, maxFiles } = this.#options;
    this.#filesLeftOut = "";
    if (paths.length <= maxFiles) return paths;
    this.#look.problems.push(
      `${path} has ${paths.length} pictures, of which the last ${maxFiles} are looked at: move the old ones away`,
    );
    paths.sort();
    this.#filesLeftOut = paths[paths.length - maxFiles - 1] ?? "";
    return paths.slice(-maxFiles);
  }

  async #update(paths: readonly string[]): Promise<void> {
    await inBatches(paths, async (path) => {
      try {
        const state = await this.stateOf(path);
        if (state === undefined) this.#forget(path);
        else if (this.#files.get(path)?.name !== state.name) {
          const file = { ...state, seenAt: performance.now(), early: this.#isFirst };
          this.#files.set(path, file);
          this.#open.set(path, file);
        }
      } catch (error) {
        this.#note(error);
      }
    });
  }

  #mayChange({ seenAt, failed }: FoundFile): boolean {
    return failed !== undefined || performance.now() - seenAt < this.#options.settleMs;
  }

  #forget(path: string): void {
    this.#files.delete(path);
    this.#open.delete(path);
  }

  #forgetFolder(path: string): void {
    this.#folders.delete(path);
    for (const file of [...this.#files.keys()]) if (folderOf(file) === path) this.#forget(file);
  }

  #note(error: unknown): void {
    this.#look.complete = false;
    this.#look.problems.push(error instanceof Error ? error.message : String(error));
  }
}

export function isGone(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

function below(folder: string, name: string): string {
  return folder === "" ? name : `${folder}/${name}`;
}

function folderOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

async function inBatches<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  for (let from = 0; from < all.length; from += AT_ONCE) await Promise.all(all.slice(from, from + AT_ONCE).map(work));
}

import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { CameraDriver, PictureTaker } from "./camera-driver.ts";
import { FolderTree, type FoundFile, isGone } from "./folder-tree.ts";
import { measureJpeg, NoJpegError } from "./jpeg.ts";

/** A file that has not changed for so long may be whole. With {@link DEFAULT_LOOK_MS} it is taken within 3 s of being so. */
const DEFAULT_SETTLE_MS = 1500;
/** A file that is no whole JPEG and has not changed for so long will not become one. */
const DEFAULT_GIVE_UP_MS = 60_000;
/** How often the folder is looked at. By looking and not by being told: network drives tell nobody of changes. */
const DEFAULT_LOOK_MS = 1000;
/** Levels of sub-folders: `2026-11-29/001/jpg/14/` of an FTP camera has four. */
export const DEFAULT_FOLDER_DEPTH = 6;
/** Five years of a folder a day. */
const DEFAULT_MAX_FOLDERS = 2000;
/** More files make every look slow, and their names fill memory; the newest names are then looked at only. */
const DEFAULT_MAX_FILES = 100_000;
/** No picture is larger; what is has another program's fault in it, and would fill a Pi's memory. */
const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;
/**
 * A look at everything is followed by so many times as long without one: a full folder must not eat the processor. For
 * 50,000 files it takes 3 s of a desktop's processor, one at what is new 12 ms (200 folders, ext4).
 */
const REST_FACTOR = 50;
const MAX_REST_MS = 900_000;
/** The same for a look at what is new, which is followed by at most {@link DEFAULT_LOOK_MS} more. */
const SHORT_REST_FACTOR = 10;
/** What could not be read or kept is tried again after so many looks. */
const LOOKS_TO_RETRY = 10;

export interface FolderCameraOptions {
  path: string;
  /** Whether a picture is removed from the folder once it is kept. Default false. */
  deleteTaken?: boolean;
  /** What people call the camera. Default `Folder`. */
  model?: string;
  settleMs?: number;
  giveUpMs?: number;
  lookMs?: number;
  /** Levels of sub-folders that are looked into. Default {@link DEFAULT_FOLDER_DEPTH}; 0: none. */
  depth?: number;
  maxFolders?: number;
  maxFiles?: number;
  /** Of one picture. Default 64 MiB, as from a camera program. */
  maxBytes?: number;
}

/** Pictures that another program writes into a folder: each is taken over once, when it is whole, oldest first. */
export function createFolderCamera(options: FolderCameraOptions): CameraDriver {
  return new FolderCamera(options);
}

class FolderCamera implements CameraDriver {
  readonly about: { model: string; firmware: string };
  readonly #options: Required<FolderCameraOptions>;
  readonly #tree: FolderTree;
  #taker: PictureTaker | undefined;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  /** When everything is to be looked at again, by a clock that nobody sets. */
  #allDueAt = 0;
  #stopped = false;
  /** What the last look at everything could not read, or not look at. */
  #problems: readonly string[] = [];
  /** The trouble that was said last; undefined once there is none. */
  #said: string | undefined;

  constructor(options: FolderCameraOptions) {
    this.#options = {
      deleteTaken: false,
      model: "Folder",
      settleMs: DEFAULT_SETTLE_MS,
      giveUpMs: DEFAULT_GIVE_UP_MS,
      lookMs: DEFAULT_LOOK_MS,
      depth: DEFAULT_FOLDER_DEPTH,
      maxFolders: DEFAULT_MAX_FOLDERS,
      maxFiles: DEFAULT_MAX_FILES,
      maxBytes: DEFAULT_MAX_BYTES,
      ...options,
    };
    this.about = { model: this.#options.model, firmware: "folder" };
    const { path, depth: maxDepth, maxFolders, maxFiles, settleMs } = this.#options;
    this.#tree = new FolderTree({ path, maxDepth, maxFolders, maxFiles, settleMs });
  }

  async capture(): Promise<never> {
    throw new Error(`the pictures in ${this.#options.path} come from another program: it cannot be asked for one`);
  }

  follow(taker: PictureTaker): void {
    this.#taker = taker;
    this.#look();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#looking;
  }

  #look(): void {
    if (this.#stopped || this.#taker === undefined) return;
    const { lookMs } = this.#options;
    this.#looking = this.#lookOnce(this.#taker)
      .catch((error: unknown) => {
        this.#sayTrouble(reasonOf(error));
        return LOOKS_TO_RETRY * lookMs;
      })
      .then((waitMs) => {
        this.#looking = undefined;
        if (!this.#stopped) this.#timer = setTimeout(() => this.#look(), waitMs);
      });
  }

  /** @returns how long until the next look, milliseconds */
  async #lookOnce(taker: PictureTaker): Promise<number> {
    const { lookMs } = this.#options;
    const tree = this.#tree;
    const started = performance.now();
    const all = started >= this.#allDueAt;
    const { complete, problems } = all ? await tree.lookAtAll() : await tree.lookAtNew();
    // The time of looking only: a large picture takes seconds to be read and scaled, and the next one is due soon.
    const tookMs = performance.now() - started;
    if (all) this.#allDueAt = performance.now() + Math.min(MAX_REST_MS, Math.max(lookMs, REST_FACTOR * tookMs));
    if (all) this.#problems = problems;
    const open = tree.open();
    const breakAt = performance.now() + lookMs;
    for (const file of open) {
      await this.#attend(taker, file);
      // What comes meanwhile is looked for between two of those that wait since the start.
      if (this.#stopped || performance.now() > breakAt) break;
    }
    // A folder without pictures may be one whose disk is away for a while: they would all be new when it is back.
    if (all && complete && tree.size > 0) await taker.remember(tree.names());
    // The first of them is told: the others mostly come of it.
    this.#sayTrouble([...problems, ...this.#problems, ...open.flatMap(({ failed }) => failed?.problem ?? [])][0]);
    return Math.max(Math.min(SHORT_REST_FACTOR * tookMs, lookMs), Math.min(this.#dueInMs(), lookMs));
  }

  /** How long until the first of the open files is to be looked at, milliseconds. */
  #dueInMs(): number {
    let due = Number.POSITIVE_INFINITY;
    for (const file of this.#tree.open()) due = Math.min(due, this.#dueAt(file));
    return Math.max(0, due - performance.now());
  }

  #dueAt({ seenAt, failed }: FoundFile): number {
    return Math.max(seenAt + this.#options.settleMs, failed?.tryAt ?? 0);
  }

  /** @throws when the picture cannot be kept */
  async #attend(taker: PictureTaker, file: FoundFile): Promise<void> {
    const tryAt = performance.now() + LOOKS_TO_RETRY * this.#options.lookMs;
    try {
      if (performance.now() < (file.failed?.tryAt ?? 0)) return;
      // It may have been kept, and the power gone before it was removed.
      if (taker.knows(file.name)) await this.#removeTaken(file);
      else if (performance.now() < this.#dueAt(file)) return;
      else if (!(await this.#takeOver(taker, file))) {
        file.failed = { tryAt };
        return;
      }
      this.#tree.close(file);
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      // One that cannot be read or removed is no reason to leave those after it.
      file.failed = { tryAt, problem: error.message };
    }
  }

  /** False when it is to be looked at again. @throws {FileError} @throws when the picture cannot be kept */
  async #takeOver(taker: PictureTaker, file: FoundFile): Promise<boolean> {
    const { path, giveUpMs, maxBytes } = this.#options;
    if (file.size > maxBytes) {
      taker.fail(`${file.path} has ${file.size} bytes, more than the ${maxBytes} of any picture`);
      return true;
    }
    let jpeg: Buffer;
    try {
      jpeg = await readFile(join(path, file.path));
      // It was written to while it was read: it is another one now.
      if ((await this.#tree.stateOf(file.path))?.name !== file.name) return false;
    } catch (error) {
      if (isGone(error)) return false;
      throw new FileError(reasonOf(error));
    }
    let size: { width: number; height: number };
    try {
      size = measureJpeg(jpeg, file.path);
    } catch (error) {
      if (!(error instanceof NoJpegError)) throw error;
      if (performance.now() - file.seenAt < giveUpMs) return false;
      taker.fail(error.message);
      return true;
    }
    await taker.take({ jpeg, ...size, settings: {}, name: file.name, takenAt: new Date(file.modifiedMs) });
    await this.#removeTaken(file);
    return true;
  }

  async #removeTaken(file: FoundFile): Promise<void> {
    if (!this.#options.deleteTaken) return;
    try {
      await rm(join(this.#options.path, file.path), { force: true });
    } catch (error) {
      throw new FileError(reasonOf(error));
    }
  }

  #sayTrouble(trouble: string | undefined): void {
    if (this.#stopped) return;
    if (trouble !== undefined && trouble !== this.#said) this.#taker?.fail(trouble);
    this.#said = trouble;
  }
}

/** One file cannot be read, or not be removed. */
class FileError extends Error {
  override name = "FileError";
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

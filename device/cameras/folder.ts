import { type FSWatcher, watch } from "node:fs";
import { readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { CameraDriver, PictureTaker } from "./camera-driver.ts";
import { measureJpeg, NoJpegError } from "./jpeg.ts";

/** A file that has not changed for so long may be whole. */
const DEFAULT_SETTLE_MS = 2000;
/** A file that is no whole JPEG and has not changed for so long will not become one. */
const DEFAULT_GIVE_UP_MS = 60_000;
/** The folder is looked at at least so often: network drives tell nobody of changes. */
const DEFAULT_LOOK_MS = 10_000;
/** More files make every look slow, and their names fill memory; the newest names are then looked at only. */
const DEFAULT_MAX_FILES = 100_000;
/** No picture is larger; what is has another program's fault in it, and would fill a Pi's memory. */
const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;
/** A look is followed by so many times as long without one: a full folder must not eat the processor. */
const REST_FACTOR = 50;
const FILES_AT_ONCE = 256;
const PICTURE = /^[^.].*\.jpe?g$/i;

export interface FolderCameraOptions {
  path: string;
  /** Whether a picture is removed from the folder once it is kept. Default false. */
  deleteTaken?: boolean;
  /** What people call the camera. Default `Folder`. */
  model?: string;
  settleMs?: number;
  giveUpMs?: number;
  lookMs?: number;
  maxFiles?: number;
  /** Of one picture. Default 64 MiB, as from a camera program. */
  maxBytes?: number;
}

interface Found {
  file: string;
  /** Of this file in this state: a file that is written over is another picture. */
  name: string;
  size: number;
  modifiedMs: number;
}

/** Pictures that another program writes into a folder: each is taken over once, when it is whole, oldest first. */
export function createFolderCamera(options: FolderCameraOptions): CameraDriver {
  return new FolderCamera(options);
}

class FolderCamera implements CameraDriver {
  readonly about: { model: string; firmware: string };
  readonly #options: Required<FolderCameraOptions>;
  #taker: PictureTaker | undefined;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  /** Something changed while a look was under way, or a look is due soon already. */
  #lookAgain = false;
  #soonDue = false;
  #restMs = 0;
  #stopped = false;
  /** Files that are no pictures, as they are now. */
  readonly #refused = new Set<string>();
  /** When a file was first seen as it is now, by a clock that nobody sets: the folder's own may be another machine's. */
  #seen = new Map<string, number>();
  /** Of the look that is under way, and what was said last. */
  #trouble: string | undefined;
  #said: string | undefined;

  constructor(options: FolderCameraOptions) {
    this.#options = {
      deleteTaken: false,
      model: "Folder",
      settleMs: DEFAULT_SETTLE_MS,
      giveUpMs: DEFAULT_GIVE_UP_MS,
      lookMs: DEFAULT_LOOK_MS,
      maxFiles: DEFAULT_MAX_FILES,
      maxBytes: DEFAULT_MAX_BYTES,
      ...options,
    };
    this.about = { model: this.#options.model, firmware: "folder" };
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
    this.#unwatch();
    await this.#looking;
  }

  #look(): void {
    if (this.#stopped || this.#taker === undefined) return;
    if (this.#looking !== undefined) {
      this.#lookAgain = true;
      return;
    }
    clearTimeout(this.#timer);
    this.#soonDue = false;
    const started = performance.now();
    this.#trouble = undefined;
    this.#looking = this.#lookOnce(this.#taker)
      .catch((error: unknown) => {
        this.#note(error);
        // A folder that is made anew is another one.
        this.#unwatch();
        return this.#options.lookMs;
      })
      .then((waitMs) => {
        this.#looking = undefined;
        this.#restMs = REST_FACTOR * (performance.now() - started);
        if (this.#stopped) return;
        this.#sayTrouble();
        this.#soonDue = this.#lookAgain;
        this.#lookIn(this.#lookAgain ? Math.min(waitMs, this.#options.settleMs) : waitMs);
        this.#lookAgain = false;
      });
  }

  /** @returns how long until the next look, milliseconds */
  async #lookOnce(taker: PictureTaker): Promise<number> {
    const { path, settleMs, lookMs, maxFiles } = this.#options;
    const names = (await readdir(path)).filter((name) => PICTURE.test(name)).sort();
    this.#watch(path);
    if (names.length > maxFiles)
      this.#note(
        `${path} has ${names.length} pictures, of which the last ${maxFiles} are looked at: move the old ones away`,
      );
    const there: Found[] = [];
    let complete = true;
    const look = async (name: string): Promise<void> => {
      try {
        const file = await found(path, name);
        if (file !== undefined) there.push(file);
      } catch (error) {
        complete = false;
        this.#note(error);
      }
    };
    for (let from = Math.max(0, names.length - maxFiles); from < names.length; from += FILES_AT_ONCE)
      await Promise.all(names.slice(from, from + FILES_AT_ONCE).map(look));
    const now = performance.now();
    this.#seen = new Map(there.map(({ name }) => [name, this.#seen.get(name) ?? now]));
    for (const name of this.#refused) if (!this.#seen.has(name)) this.#refused.delete(name);
    let settling = false;
    for (const file of there.sort((a, b) => a.modifiedMs - b.modifiedMs || a.name.localeCompare(b.name))) {
      if (this.#stopped) break;
      if (this.#refused.has(file.name)) continue;
      // It may have been kept, and the power gone before it was removed.
      if (taker.knows(file.name)) await this.#removeTaken(file);
      else if (now - (this.#seen.get(file.name) ?? now) < settleMs) settling = true;
      else if (!(await this.#takeOver(taker, file))) settling = true;
    }
    // A folder without pictures may be one whose disk is away for a while: they would all be new when it is back.
    if (complete && there.length > 0) await taker.remember(new Set(this.#seen.keys()));
    return settling ? Math.min(settleMs / 2, lookMs) : lookMs;
  }

  /** False when it is to be looked at again. @throws when the picture cannot be kept */
  async #takeOver(taker: PictureTaker, file: Found): Promise<boolean> {
    const { path, giveUpMs, maxBytes } = this.#options;
    if (file.size > maxBytes) {
      this.#refused.add(file.name);
      taker.fail(`${file.file} has ${file.size} bytes, more than the ${maxBytes} of any picture`);
      return true;
    }
    let jpeg: Buffer;
    try {
      jpeg = await readFile(join(path, file.file));
      // It was written to while it was read: it is another one now.
      if ((await found(path, file.file))?.name !== file.name) return false;
    } catch (error) {
      // One that cannot be read is no reason to leave those after it.
      if (!isGone(error)) this.#note(error);
      return true;
    }
    let size: { width: number; height: number };
    try {
      size = measureJpeg(jpeg, file.file);
    } catch (error) {
      if (!(error instanceof NoJpegError)) throw error;
      if (performance.now() - (this.#seen.get(file.name) ?? 0) < giveUpMs) return false;
      this.#refused.add(file.name);
      taker.fail(error.message);
      return true;
    }
    await taker.take({ jpeg, ...size, settings: {}, name: file.name, takenAt: new Date(file.modifiedMs) });
    await this.#removeTaken(file);
    return true;
  }

  async #removeTaken({ file }: Found): Promise<void> {
    if (!this.#options.deleteTaken) return;
    try {
      await rm(join(this.#options.path, file), { force: true });
    } catch (error) {
      this.#note(error);
    }
  }

  /** Changes are usually told at once; looking every few seconds finds the rest. */
  #watch(path: string): void {
    if (this.#watcher !== undefined || this.#stopped) return;
    try {
      this.#watcher = watch(path, () => this.#soon());
      this.#watcher.on("error", () => this.#unwatch());
    } catch {
      // No more watches on this machine, or a file system without them.
    }
  }

  #unwatch(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  #soon(): void {
    if (this.#looking !== undefined) this.#lookAgain = true;
    // A timer that is set again at every change of a folder that always changes would never go off.
    if (this.#stopped || this.#looking !== undefined || this.#soonDue) return;
    this.#soonDue = true;
    this.#lookIn(this.#options.settleMs / 2);
  }

  #lookIn(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), Math.max(ms, Math.min(this.#restMs, 10 * this.#options.lookMs)));
  }

  /** The first trouble of a look is told: the others mostly come of it. */
  #note(error: unknown): void {
    this.#trouble ??= error instanceof Error ? error.message : String(error);
  }

  #sayTrouble(): void {
    if (this.#trouble !== undefined && this.#trouble !== this.#said) this.#taker?.fail(this.#trouble);
    this.#said = this.#trouble;
  }
}

/** Undefined when it is gone since the listing, or no file. */
async function found(path: string, file: string): Promise<Found | undefined> {
  try {
    const stats = await stat(join(path, file));
    if (!stats.isFile()) return undefined;
    const { size, mtimeMs } = stats;
    return { file, name: `${file}/${size}/${Math.round(mtimeMs)}`, size, modifiedMs: mtimeMs };
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

function isGone(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

import { access, mkdir, readdir, readFile, rename, rm, statfs, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Logger } from "pino";
import { decodeTime } from "ulid";
import { type CameraSettings, type CaptureCompleted, captureCompletedSchema } from "../../contract/events.ts";
import { syncFolder } from "../../platform/sync-folder.ts";

/** What is written beside each picture. */
export interface Sidecar {
  capture: string;
  camera: string;
  taken_at: string;
  width: number;
  height: number;
  size_bytes: number;
  settings: CameraSettings;
  model: string;
  location: { lat: number; lon: number; timezone: string };
  /** False when the clock was not set yet, so that time and folder may be wrong. */
  clock_set: boolean;
}

export interface ImageStoreOptions {
  /** Pictures go to `{dataPath}/raw/YYYY/MM/DD/`, by UTC. */
  dataPath: string;
  /** When less is free, or too little for another picture, the oldest are removed. Default 0: none ever is. */
  minFreePercent?: number;
  /** Bytes of the disk that are free, and in all. Default: what the system says. */
  room?: (path: string) => Promise<{ free: number; total: number }>;
  logger: Logger;
}

/** Pictures that are removed before the free space is looked at again, and in all at one time. */
const REMOVED_AT_ONCE = 16;
const REMOVED_AT_MOST = 512;

/**
 * Bytes that pictures leave free, or 2 % of a small disk: without any the outbox cannot even be opened at the next start, and
 * nobody would be told that the disk is full.
 */
const RESERVE_BYTES = 16 * 1024 * 1024;
const RESERVE_SHARE = 0.02;

/** Keeps the pictures themselves: whole or not at all, each with a sidecar, where a person finds them. */
export class ImageStore {
  readonly #root: string;
  readonly #incoming: string;
  readonly #options: ImageStoreOptions;
  #pruning: Promise<void> | undefined;
  /** The picture that was kept last, by its path: pruning leaves it, and it is the newest, whatever its time. */
  #newest: string | undefined;

  constructor(options: ImageStoreOptions) {
    this.#options = options;
    this.#root = join(options.dataPath, "raw");
    // Beside the pictures, so that a rename brings a file to its place.
    this.#incoming = join(this.#root, ".incoming");
  }

  /** Tidies up what a power cut left half-done. @throws when the folder cannot be used */
  async prepare(): Promise<void> {
    await mkdir(this.#incoming, { recursive: true });
    const left = await readdir(this.#incoming);
    for (const image of left.filter((name) => name.endsWith(".jpg"))) {
      // Its sidecar has gone to its place already, so it is whole and was about to follow.
      if (!left.includes(sidecarOf(image)))
        await rename(join(this.#incoming, image), join(this.#folderOf(captureIn(image)), image));
    }
    await rm(this.#incoming, { recursive: true });
    await mkdir(this.#incoming);
    // Pruning begins with a picture, and with the oldest.
    for await (const folder of this.#days("oldest")) {
      const names = await readdir(folder);
      const lonely = names.filter((name) => name.endsWith(".json") && !names.includes(imageOf(name)));
      for (const name of lonely) await rm(join(folder, name));
      if (lonely.length < names.length) break;
      await rm(folder, { recursive: true });
    }
  }

  /**
   * Resolves when the picture is on disk.
   * @throws when the disk does not take it; then nothing of it is left
   */
  async keep(jpeg: Buffer, sidecar: Sidecar): Promise<void> {
    const folder = this.#folderOf(sidecar.capture);
    const image = `${sidecar.taken_at.slice(11, 19).replaceAll(":", "")}-${sidecar.capture}.jpg`;
    const json = sidecarOf(image);
    const made: string[] = [];
    const make = (place: string, name: string): string => {
      made.push(join(place, name));
      return join(place, name);
    };
    try {
      await this.#expectRoom(jpeg.length);
      await writeFile(make(this.#incoming, json), `${JSON.stringify(sidecar, undefined, 2)}\n`, {
        mode: 0o644,
        flush: true,
      });
      await writeFile(make(this.#incoming, image), jpeg, { mode: 0o644, flush: true });
      await mkdir(folder, { recursive: true });
      // The picture last: where there is one, there is its sidecar.
      await rename(join(this.#incoming, json), make(folder, json));
      this.#newest = join(folder, image);
      await rename(join(this.#incoming, image), make(folder, image));
      await syncFolder(folder);
    } catch (error) {
      await Promise.all(made.map((file) => rm(file, { force: true })));
      throw error;
    } finally {
      // Above all when there was no room for it.
      this.#pruneSoon(jpeg.length);
    }
  }

  /** @returns the picture of a capture, of the newest when none is named; undefined when it is not there */
  async find(capture?: string): Promise<{ capture: string; jpeg: Buffer } | undefined> {
    const path =
      capture === undefined
        ? await this.#newestKept()
        : await lastIn(this.#folderOf(capture), (name) => captureIn(name) === capture);
    return path === undefined ? undefined : { capture: captureIn(basename(path)), jpeg: await readFile(path) };
  }

  /** @returns what is known of the picture of a capture; undefined when it is not there. @throws when it cannot be read */
  async describe(capture: string): Promise<CaptureCompleted | undefined> {
    const path = await lastIn(this.#folderOf(capture), (name) => captureIn(name) === capture);
    if (path === undefined) return undefined;
    return captureCompletedSchema.parse(JSON.parse(await readFile(sidecarOf(path), "utf8")));
  }

  /** Resolves when nothing is being removed. */
  async idle(): Promise<void> {
    await this.#pruning;
  }

  /** @throws when the picture would take what is to stay free */
  async #expectRoom(bytes: number): Promise<void> {
    const { free, total } = await this.#room();
    if (free - bytes < reserveOf(total))
      throw new Error(
        `the disk is full: pictures leave ${Math.ceil(reserveOf(total) / 1024)} kB of it for what else must be written`,
      );
  }

  #room(): Promise<{ free: number; total: number }> {
    return (this.#options.room ?? roomOf)(this.#root);
  }

  /** The one that was kept last in this run, whatever its time; else, or when a person removed it, the newest by its time. */
  async #newestKept(): Promise<string | undefined> {
    const newest = this.#newest;
    if (newest !== undefined && (await access(newest).then(isSo, isNotSo))) return newest;
    return this.#newestByTime();
  }

  async #newestByTime(): Promise<string | undefined> {
    for await (const folder of this.#days("newest")) {
      const path = await lastIn(folder);
      if (path !== undefined) return path;
    }
    return undefined;
  }

  /** By the time in a capture's name, so that it is found again by that alone. */
  #folderOf(capture: string): string {
    const day = new Date(timeOf(capture)).toISOString().slice(0, 10);
    return join(this.#root, ...day.split("-"));
  }

  async *#days(first: "oldest" | "newest"): AsyncGenerator<string> {
    for (const year of await numbered(this.#root, first)) {
      for (const month of await numbered(join(this.#root, year), first)) {
        for (const day of await numbered(join(this.#root, year, month), first))
          yield join(this.#root, year, month, day);
      }
    }
  }

  #pruneSoon(bytes: number): void {
    const { minFreePercent = 0, logger } = this.#options;
    if (minFreePercent === 0 || this.#pruning !== undefined) return;
    this.#pruning = this.#prune(minFreePercent, bytes)
      .catch((error: unknown) =>
        logger.error({ reason: error instanceof Error ? error.message : String(error) }, "cannot remove old pictures"),
      )
      .finally(() => {
        this.#pruning = undefined;
      });
  }

  /** @param bytes for which there is to be room: of such a picture as the last was */
  async #prune(minFreePercent: number, bytes: number): Promise<void> {
    const { logger } = this.#options;
    const isRoomy = async (): Promise<boolean> => {
      const { free, total } = await this.#room();
      return (free / total) * 100 >= minFreePercent && free - bytes >= reserveOf(total);
    };
    this.#newest ??= await this.#newestByTime();
    let removed = 0;
    for await (const folder of this.#days("oldest")) {
      const pictures = await picturesIn(folder);
      for (const [index, name] of pictures.entries()) {
        if (join(folder, name) === this.#newest) continue;
        if (index % REMOVED_AT_ONCE === 0 && (await isRoomy())) return report();
        if (removed >= REMOVED_AT_MOST) return report();
        await rm(join(folder, name), { force: true });
        await rm(join(folder, sidecarOf(name)), { force: true });
        removed++;
      }
      // One that had no picture may be about to get its first.
      if (pictures.length > 0 && (await readdir(folder)).length === 0) await rm(folder, { recursive: true });
    }
    report();

    function report(): void {
      if (removed > 0) logger.info({ removed, minFreePercent }, "oldest pictures removed to keep space free");
    }
  }
}

const isSo = (): boolean => true;
const isNotSo = (): boolean => false;

/** Milliseconds since 1970; 0 of a name that says nothing of the time. */
function timeOf(capture: string): number {
  try {
    return decodeTime(capture.toUpperCase());
  } catch {
    return 0;
  }
}

function sidecarOf(image: string): string {
  return image.replace(/jpg$/, "json");
}

function imageOf(sidecar: string): string {
  return sidecar.replace(/json$/, "jpg");
}

function captureIn(image: string): string {
  return image.slice("hhmmss-".length, -".jpg".length);
}

async function picturesIn(folder: string): Promise<string[]> {
  const names: string[] = await readdir(folder).catch(() => []);
  return names.filter((name) => name.endsWith(".jpg")).sort();
}

async function lastIn(folder: string, fits = (_name: string): boolean => true): Promise<string | undefined> {
  const name = (await picturesIn(folder)).filter(fits).at(-1);
  return name === undefined ? undefined : join(folder, name);
}

async function numbered(folder: string, first: "oldest" | "newest"): Promise<string[]> {
  const names: string[] = await readdir(folder).catch(() => []);
  const sorted = names.filter((name) => /^\d+$/.test(name)).sort();
  return first === "oldest" ? sorted : sorted.reverse();
}

async function roomOf(path: string): Promise<{ free: number; total: number }> {
  const { bavail, blocks, bsize } = await statfs(path);
  // A file system that does not say its size is taken to have room: the write itself tells when there is none.
  return blocks === 0
    ? { free: Number.MAX_VALUE, total: Number.MAX_VALUE }
    : { free: bavail * bsize, total: blocks * bsize };
}

function reserveOf(total: number): number {
  return Math.min(RESERVE_BYTES, total * RESERVE_SHARE);
}

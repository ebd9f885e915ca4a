import { mkdir, readdir, readFile, rename, rm, stat, statfs, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Logger } from "pino";
import { decodeTime } from "ulid";
import { type CaptureCompleted, captureCompletedSchema } from "../../contract/events.ts";
import type { Location } from "../../contract/schedule/sun.ts";
import { messageOf } from "../../platform/errors.ts";
import { syncFolder } from "../../platform/sync-folder.ts";

export interface Sidecar extends CaptureCompleted {
  camera: string;
  taken_at: string;
  model: string;
  location: Location;
  /** False when the clock was not set yet: time and folder may be wrong. */
  clock_set: boolean;
}

export interface ImageStoreOptions {
  /** Pictures are in `{dataPath}/raw/YYYY/MM/DD/`, by UTC. */
  dataPath: string;
  /** Below this free space the oldest pictures are removed. Default 0: no picture is removed. */
  minFreePercent?: number;
  diskSpace?: (path: string) => Promise<{ free: number; total: number }>;
  logger: Logger;
}

/** Free space is checked after each batch. One run removes at most {@link MAX_PRUNED} pictures. */
const PRUNE_BATCH = 16;
const MAX_PRUNED = 512;

/**
 * Pictures leave this space free, or, on a small disk, this share of it. On a full disk, the outbox could not be opened
 * at the next start, so the camera could not report the full disk.
 */
const RESERVE_BYTES = 16 * 1024 * 1024;
const RESERVE_SHARE = 0.02;

/** Stores full-size pictures, each with a sidecar. A picture is stored completely or not at all. */
export class ImageStore {
  readonly #root: string;
  readonly #incoming: string;
  readonly #options: ImageStoreOptions;
  #pruning: Promise<void> | undefined;
  /** Path of the picture stored last. It is never pruned, whatever its time. */
  #newest: string | undefined;

  constructor(options: ImageStoreOptions) {
    this.#options = options;
    this.#root = join(options.dataPath, "raw");
    // This folder is on the same file system as the pictures, so that a rename can move a file out of it.
    this.#incoming = join(this.#root, ".incoming");
  }

  /** Completes or removes pictures that a power cut interrupted. @throws when the folder cannot be used */
  async prepare(): Promise<void> {
    await mkdir(this.#incoming, { recursive: true });
    const left = await readdir(this.#incoming);
    for (const image of left.filter((name) => name.endsWith(".jpg"))) {
      // The sidecar was moved already, so the picture is complete.
      if (!left.includes(sidecarOf(image)))
        await rename(join(this.#incoming, image), join(this.#folderOf(captureIn(image)), image));
    }
    await rm(this.#incoming, { recursive: true });
    await mkdir(this.#incoming);
    // Interrupted pruning leaves sidecars without a picture, in the oldest folders.
    for await (const folder of this.#days("oldest")) {
      const names = await readdir(folder);
      const orphans = names.filter((name) => name.endsWith(".json") && !names.includes(imageOf(name)));
      for (const name of orphans) await rm(join(folder, name));
      if (orphans.length < names.length) break;
      await rm(folder, { recursive: true });
    }
  }

  /** Resolves when the picture is on the disk. @throws when it cannot be written; no part of it is left */
  async save(jpeg: Buffer, sidecar: Sidecar): Promise<void> {
    const folder = this.#folderOf(sidecar.capture);
    const image = `${sidecar.taken_at.slice(11, 19).replaceAll(":", "")}-${sidecar.capture}.jpg`;
    const json = sidecarOf(image);
    const created: string[] = [];
    const create = (place: string, name: string): string => {
      created.push(join(place, name));
      return join(place, name);
    };
    try {
      await this.#requireSpace(jpeg.length);
      const durably = { mode: 0o644, flush: true };
      await writeFile(create(this.#incoming, json), `${JSON.stringify(sidecar, undefined, 2)}\n`, durably);
      await writeFile(create(this.#incoming, image), jpeg, durably);
      await mkdir(folder, { recursive: true });
      // First the sidecar, so that every stored picture has one.
      await rename(join(this.#incoming, json), create(folder, json));
      this.#newest = join(folder, image);
      await rename(join(this.#incoming, image), create(folder, image));
      await syncFolder(folder);
    } catch (error) {
      await Promise.all(created.map((file) => rm(file, { force: true })));
      throw error;
    } finally {
      this.#pruneSoon(jpeg.length);
    }
  }

  async find(capture?: string): Promise<{ capture: string; jpeg: Buffer } | undefined> {
    const path = capture === undefined ? await this.#newestPath() : await this.#pathOf(capture);
    return path === undefined ? undefined : { capture: captureIn(basename(path)), jpeg: await readFile(path) };
  }

  /** Reads a picture's sidecar; undefined without a picture. @throws when the sidecar cannot be read */
  async describe(capture: string): Promise<CaptureCompleted | undefined> {
    const path = await this.#pathOf(capture);
    if (path === undefined) return undefined;
    return captureCompletedSchema.parse(JSON.parse(await readFile(sidecarOf(path), "utf8")));
  }

  async idle(): Promise<void> {
    await this.#pruning;
  }

  async #requireSpace(bytes: number): Promise<void> {
    const { free, total } = await this.#diskSpace();
    if (free - bytes < reserveOf(total))
      throw new Error(
        `the disk is full: ${Math.ceil(reserveOf(total) / 1024)} kB are reserved for other files than pictures`,
      );
  }

  #diskSpace(): Promise<{ free: number; total: number }> {
    return (this.#options.diskSpace ?? diskSpaceOf)(this.#root);
  }

  /** The picture stored last, even if its time is wrong; otherwise the newest by time. */
  async #newestPath(): Promise<string | undefined> {
    const newest = this.#newest;
    const exists = newest !== undefined && (await stat(newest).catch(() => undefined)) !== undefined;
    return exists ? newest : this.#newestByTime();
  }

  async #newestByTime(): Promise<string | undefined> {
    for await (const folder of this.#days("newest")) {
      const path = await lastIn(folder);
      if (path !== undefined) return path;
    }
    return undefined;
  }

  /** A capture's id contains its time, which gives the folder. */
  #folderOf(capture: string): string {
    const day = new Date(timeOf(capture)).toISOString().slice(0, 10);
    return join(this.#root, ...day.split("-"));
  }

  #pathOf(capture: string): Promise<string | undefined> {
    return lastIn(this.#folderOf(capture), (name) => captureIn(name) === capture);
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
      .catch((error: unknown) => logger.error({ reason: messageOf(error) }, "cannot remove old pictures"))
      .finally(() => {
        this.#pruning = undefined;
      });
  }

  async #prune(minFreePercent: number, bytes: number): Promise<void> {
    const { logger } = this.#options;
    const hasSpace = async (): Promise<boolean> => {
      const { free, total } = await this.#diskSpace();
      return (free / total) * 100 >= minFreePercent && free - bytes >= reserveOf(total);
    };
    this.#newest ??= await this.#newestByTime();
    let removed = 0;
    for await (const folder of this.#days("oldest")) {
      const pictures = await picturesIn(folder);
      for (const [index, name] of pictures.entries()) {
        if (join(folder, name) === this.#newest) continue;
        if (index % PRUNE_BATCH === 0 && (await hasSpace())) return report();
        if (removed >= MAX_PRUNED) return report();
        await rm(join(folder, name), { force: true });
        await rm(join(folder, sidecarOf(name)), { force: true });
        removed++;
      }
      // A folder that was empty before is kept: a picture may be about to be moved into it.
      if (pictures.length > 0 && (await readdir(folder)).length === 0) await rm(folder, { recursive: true });
    }
    report();

    function report(): void {
      if (removed > 0) logger.info({ removed, minFreePercent }, "oldest pictures removed to free space");
    }
  }
}

/** Milliseconds since 1970; 0 for an id without a time. */
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

async function diskSpaceOf(path: string): Promise<{ free: number; total: number }> {
  const { bavail, blocks, bsize } = await statfs(path);
  // A file system that reports no size counts as empty. If it is full after all, the write fails.
  return blocks === 0
    ? { free: Number.MAX_VALUE, total: Number.MAX_VALUE }
    : { free: bavail * bsize, total: blocks * bsize };
}

function reserveOf(total: number): number {
  return Math.min(RESERVE_BYTES, total * RESERVE_SHARE);
}

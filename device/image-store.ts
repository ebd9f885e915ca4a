import { mkdir, open, readdir, readFile, rename, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import { decodeTime } from "ulid";
import type { CameraSettings } from "../contract/events.ts";

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
  /** When less is free, the oldest pictures are removed. Default 0: none ever is. */
  minFreePercent?: number;
  /** Free space of the disk, 0 to 100. Default: what the system says. */
  freePercent?: (path: string) => Promise<number>;
  logger: Logger;
}

/** Pictures that are removed before the free space is looked at again, and in all at one time. */
const REMOVED_AT_ONCE = 16;
const REMOVED_AT_MOST = 512;

/** Keeps the pictures themselves: whole or not at all, each with a sidecar, where a person finds them. */
export class ImageStore {
  readonly #root: string;
  readonly #incoming: string;
  readonly #options: ImageStoreOptions;
  #pruning: Promise<void> | undefined;

  constructor(options: ImageStoreOptions) {
    this.#options = options;
    this.#root = join(options.dataPath, "raw");
    // Beside the pictures, so that a rename brings a file to its place.
    this.#incoming = join(this.#root, ".incoming");
  }

  /** Removes what a power cut left half-written. @throws when the folder cannot be used */
  async prepare(): Promise<void> {
    await rm(this.#incoming, { recursive: true, force: true });
    await mkdir(this.#incoming, { recursive: true });
  }

  /**
   * Resolves when the picture is on disk.
   * @throws when the disk does not take it; then nothing of it is left
   */
  async keep(jpeg: Buffer, sidecar: Sidecar): Promise<void> {
    const folder = this.#folderOf(sidecar.capture);
    const name = `${sidecar.taken_at.slice(11, 19).replaceAll(":", "")}-${sidecar.capture}`;
    const parts = [`${name}.json`, `${name}.jpg`].map((file) => join(this.#incoming, file));
    const [json = "", image = ""] = parts;
    try {
      await writeSynced(json, `${JSON.stringify(sidecar, undefined, 2)}\n`);
      await writeSynced(image, jpeg);
      await mkdir(folder, { recursive: true });
      // The picture last: where there is one, there is its sidecar.
      await rename(json, join(folder, `${name}.json`));
      await rename(image, join(folder, `${name}.jpg`));
      await syncFolder(folder);
    } catch (error) {
      await Promise.all(parts.map((part) => rm(part, { force: true })));
      throw error;
    }
    this.#pruneSoon();
  }

  /** @returns the picture of a capture, of the newest when none is named; undefined when it is not there */
  async find(capture?: string): Promise<{ capture: string; jpeg: Buffer } | undefined> {
    if (capture !== undefined) return this.#read(this.#folderOf(capture), (name) => name.includes(`-${capture}.`));
    for await (const folder of this.#days("newest")) {
      const newest = await this.#read(folder, () => true);
      if (newest !== undefined) return newest;
    }
    return undefined;
  }

  /** Resolves when nothing is being removed. */
  async idle(): Promise<void> {
    await this.#pruning;
  }

  async #read(folder: string, fits: (name: string) => boolean): Promise<{ capture: string; jpeg: Buffer } | undefined> {
    const name = (await picturesIn(folder)).filter(fits).at(-1);
    if (name === undefined) return undefined;
    return { capture: name.slice("hhmmss-".length, -".jpg".length), jpeg: await readFile(join(folder, name)) };
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

  #pruneSoon(): void {
    const { minFreePercent = 0, logger } = this.#options;
    if (minFreePercent === 0 || this.#pruning !== undefined) return;
    this.#pruning = this.#prune(minFreePercent)
      .catch((error: unknown) =>
        logger.error({ reason: error instanceof Error ? error.message : String(error) }, "cannot remove old pictures"),
      )
      .finally(() => {
        this.#pruning = undefined;
      });
  }

  async #prune(minFreePercent: number): Promise<void> {
    const { freePercent = freePercentOf, logger } = this.#options;
    let removed = 0;
    for await (const folder of this.#days("oldest")) {
      const pictures = await picturesIn(folder);
      for (const [index, name] of pictures.entries()) {
        if (index % REMOVED_AT_ONCE === 0 && (await freePercent(this.#root)) >= minFreePercent) return report();
        if (removed >= REMOVED_AT_MOST) return report();
        await rm(join(folder, name), { force: true });
        await rm(join(folder, name.replace(/jpg$/, "json")), { force: true });
        removed++;
      }
      if ((await readdir(folder)).length === 0) await rm(folder, { recursive: true });
    }
    report();

    function report(): void {
      if (removed > 0) logger.info({ removed, minFreePercent }, "oldest pictures removed to keep space free");
    }
  }
}

/** Milliseconds since 1970; 0 of a name that says nothing of the time. */
function timeOf(capture: string): number {
  try {
    return decodeTime(capture.toUpperCase());
  } catch {
    return 0;
  }
}

async function picturesIn(folder: string): Promise<string[]> {
  const names: string[] = await readdir(folder).catch(() => []);
  return names.filter((name) => name.endsWith(".jpg")).sort();
}

async function numbered(folder: string, first: "oldest" | "newest"): Promise<string[]> {
  const names: string[] = await readdir(folder).catch(() => []);
  const sorted = names.filter((name) => /^\d+$/.test(name)).sort();
  return first === "oldest" ? sorted : sorted.reverse();
}

async function freePercentOf(path: string): Promise<number> {
  const { bavail, blocks } = await statfs(path);
  return (bavail / blocks) * 100;
}

async function writeSynced(file: string, content: string | Buffer): Promise<void> {
  const handle = await open(file, "w", 0o644);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A rename is durable when its folder is. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

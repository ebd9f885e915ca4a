import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../../platform/errors.ts";
import type { CameraDriver, PictureSink } from "./camera-driver.ts";
import { FolderTree, type FoundFile, isNotFound } from "./folder-tree.ts";
import { measureJpeg, NoJpegError } from "./jpeg.ts";

/** An FTP camera's `2026-11-29/001/jpg/14/` has four levels. */
export const DEFAULT_FOLDER_DEPTH = 6;
const DEFAULTS = {
  model: "Folder",
  /** Whether an imported picture is deleted from the folder. */
  deleteTaken: false,
  /**
   * How long a complete file must be unchanged. Including the wait for the next scan, a picture is imported within 3 s.
   */
  settleMs: 1500,
  /** How long an incomplete JPEG may be unchanged before the camera gives it up. */
  giveUpMs: 60_000,
  /** The folder is polled, because network drives send no change notifications. */
  scanIntervalMs: 1000,
  /** Levels of subfolders. 0: only the folder itself. */
  depth: DEFAULT_FOLDER_DEPTH,
  /** Enough for five years of daily folders. */
  maxFolders: 2000,
  /** More files make scans slow and fill memory. The camera then watches only the last files by name. */
  maxFiles: 100_000,
  /** No picture is larger. A larger file would fill a Raspberry Pi's memory. */
  maxBytes: 64 * 1024 * 1024,
};
export type FolderCameraOptions = { path: string } & Partial<typeof DEFAULTS>;

/**
 * After a full scan the camera rests for this many times the scan's duration, to spare the processor. With 50,000 files
 * in 200 folders on ext4, a full scan takes 3 s on a desktop, a quick scan 12 ms.
 */
const FULL_SCAN_REST_FACTOR = 50;
const MAX_FULL_SCAN_REST_MS = 900_000;
/** After a quick scan the camera rests for this many times its duration, but at most one scan interval. */
const QUICK_SCAN_REST_FACTOR = 10;
/** The number of scan intervals before a retry. */
const SCANS_TO_RETRY = 10;

/** Imports another program's pictures from a folder: each complete picture once, oldest first. */
export class FolderCamera implements CameraDriver {
  readonly about: { model: string; firmware: string };
  readonly #options: Required<FolderCameraOptions>;
  readonly #tree: FolderTree;
  #sink: PictureSink | undefined;
  #timer: NodeJS.Timeout | undefined;
  #scanning: Promise<void> | undefined;
  #fullScanAt = 0;
  #stopped = false;
  #problems: readonly string[] = [];
  #reported: string | undefined;

  constructor(options: FolderCameraOptions) {
    this.#options = { ...DEFAULTS, ...options };
    this.about = { model: this.#options.model, firmware: "folder" };
    const { path, depth: maxDepth, maxFolders, maxFiles, settleMs } = this.#options;
    this.#tree = new FolderTree({ path, maxDepth, maxFolders, maxFiles, settleMs });
  }

  async capture(): Promise<never> {
    throw new Error(
      `the pictures in ${this.#options.path} come from another program: this camera cannot take one itself`,
    );
  }

  watch(sink: PictureSink): void {
    this.#sink = sink;
    this.#scan();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#scanning;
  }

  #scan(): void {
    if (this.#stopped || this.#sink === undefined) return;
    const { scanIntervalMs } = this.#options;
    this.#scanning = this.#scanOnce(this.#sink)
      .catch((error: unknown) => {
        this.#report(messageOf(error));
        return SCANS_TO_RETRY * scanIntervalMs;
      })
      .then((waitMs) => {
        this.#scanning = undefined;
        if (!this.#stopped) this.#timer = setTimeout(() => this.#scan(), waitMs);
      });
  }

  async #scanOnce(sink: PictureSink): Promise<number> {
    const { scanIntervalMs } = this.#options;
    const tree = this.#tree;
    const started = performance.now();
    const isFull = started >= this.#fullScanAt;
    const { complete, problems } = isFull ? await tree.fullScan() : await tree.quickScan();
    // Measures only the scan, not the import: a large picture takes seconds to read and scale.
    const tookMs = performance.now() - started;
    if (isFull) {
      const restMs = Math.min(MAX_FULL_SCAN_REST_MS, Math.max(scanIntervalMs, FULL_SCAN_REST_FACTOR * tookMs));
      this.#fullScanAt = performance.now() + restMs;
      this.#problems = problems;
    }
    const pending = tree.pending();
    const breakAt = performance.now() + scanIntervalMs;
    for (const file of pending) {
      await this.#process(sink, file);
      // Stops in the middle of thousands of old files, so that the next scan can find new ones.
      if (this.#stopped || performance.now() > breakAt) break;
    }
    // Keeps the names of an empty folder: its disk may be unmounted, and its pictures would be new later.
    if (isFull && complete && tree.size > 0) await sink.keepOnly(tree.names());
    // Only the first problem is reported: the others are mostly its consequences.
    this.#report([...problems, ...this.#problems, ...pending.flatMap(({ failed }) => failed?.problem ?? [])][0]);
    return Math.max(
      Math.min(QUICK_SCAN_REST_FACTOR * tookMs, scanIntervalMs),
      Math.min(this.#nextDueInMs(), scanIntervalMs),
    );
  }

  #nextDueInMs(): number {
    let due = Number.POSITIVE_INFINITY;
    for (const file of this.#tree.pending()) due = Math.min(due, this.#dueAt(file));
    return Math.max(0, due - performance.now());
  }

  #dueAt({ seenAt, failed }: FoundFile): number {
    return Math.max(seenAt + this.#options.settleMs, failed?.retryAt ?? 0);
  }

  /** @throws when the picture cannot be stored */
  async #process(sink: PictureSink, file: FoundFile): Promise<void> {
    const retryAt = performance.now() + SCANS_TO_RETRY * this.#options.scanIntervalMs;
    try {
      if (performance.now() < (file.failed?.retryAt ?? 0)) return;
      // The picture is stored already, but a power cut prevented its deletion from the folder.
      if (sink.has(file.name)) await this.#deleteTaken(file);
      else if (performance.now() < this.#dueAt(file)) return;
      else if (!(await this.#takeOver(sink, file))) {
        file.failed = { retryAt };
        return;
      }
      this.#tree.done(file);
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      // An unreadable file must not block the others.
      file.failed = { retryAt, problem: error.message };
    }
  }

  /** @returns false when the file must be retried. @throws {FileError} @throws when the picture cannot be stored */
  async #takeOver(sink: PictureSink, file: FoundFile): Promise<boolean> {
    const { path, giveUpMs, maxBytes } = this.#options;
    if (file.size > maxBytes) {
      sink.fail(`${file.path} has ${file.size} bytes: a picture may have ${maxBytes}`);
      return true;
    }
    let jpeg: Buffer;
    try {
      jpeg = await readFile(join(path, file.path));
      // A file that changed during reading is another picture.
      if ((await this.#tree.stateOf(file.path))?.name !== file.name) return false;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw new FileError(messageOf(error));
    }
    let size: { width: number; height: number };
    try {
      size = measureJpeg(jpeg, file.path);
    } catch (error) {
      if (!(error instanceof NoJpegError)) throw error;
      if (performance.now() - file.seenAt < giveUpMs) return false;
      sink.fail(error.message);
      return true;
    }
    await sink.store({ jpeg, ...size, settings: {}, name: file.name, takenAt: new Date(file.modifiedMs) });
    await this.#deleteTaken(file);
    return true;
  }

  async #deleteTaken(file: FoundFile): Promise<void> {
    if (!this.#options.deleteTaken) return;
    try {
      await rm(join(this.#options.path, file.path), { force: true });
    } catch (error) {
      throw new FileError(messageOf(error));
    }
  }

  /** Reports a problem once, until it changes or ends. */
  #report(problem: string | undefined): void {
    if (this.#stopped) return;
    if (problem !== undefined && problem !== this.#reported) this.#sink?.fail(problem);
    this.#reported = problem;
  }
}

class FileError extends Error {
  override name = "FileError";
}

import { CameraPreviews, isBefore } from "./camera-previews.ts";
import type { PreviewLimits } from "./config.ts";
import { PreviewFiles } from "./preview-files.ts";
import {
  type PreviewListQuery,
  type PreviewPage,
  type PreviewRange,
  type PreviewStore,
  type StoredPreview,
  spread,
} from "./preview-store.ts";

const SWEEP_INTERVAL_MS = 10 * 60_000;

interface FilePreviewStoreOptions {
  /** Created if missing. */
  path: string;
  limits: PreviewLimits;
  /** Milliseconds since 1970. */
  now: () => number;
}

/** Keeps previews in files of this node, and their metadata in memory. */
export class FilePreviewStore implements PreviewStore {
  readonly #files: PreviewFiles;
  readonly #limits: PreviewLimits;
  readonly #now: () => number;
  /** Ordered by each camera's last preview: the camera that has been silent longest comes first. */
  readonly #cameras = new Map<string, CameraPreviews>();
  readonly #pending = new Set<Promise<unknown>>();
  #count = 0;
  #bytes = 0;
  #sweep: NodeJS.Timeout | undefined;

  constructor({ path, limits, now }: FilePreviewStoreOptions) {
    this.#files = new PreviewFiles(path);
    this.#limits = limits;
    this.#now = now;
  }

  /** Lists the stored previews. Call this method before all others. */
  async load(): Promise<void> {
    const found: { camera: string; previews: StoredPreview[] }[] = [];
    for await (const one of this.#files.load()) found.push(one);
    const lastSaved = ({ previews }: { previews: StoredPreview[] }) =>
      previews.reduce((last, { savedAt }) => Math.max(last, savedAt), 0);
    found.sort((one, other) => lastSaved(one) - lastSaved(other));
    const replaced: Promise<void>[] = [];
    for (const { camera, previews } of found) {
      const stored = this.#camera(camera);
      // The program may have been killed after it wrote a preview and before it removed the replaced one.
      for (const preview of previews.sort((one, other) => one.savedAt - other.savedAt)) {
        const older = stored.get(preview.capture);
        if (older !== undefined) replaced.push(this.#drop(camera, stored, older));
        this.#add(stored, preview);
      }
    }
    await Promise.all([...replaced, this.#enforce()]);
    this.#sweep = setInterval(() => void this.#enforce().catch(() => undefined), SWEEP_INTERVAL_MS).unref();
  }

  put(camera: string, preview: StoredPreview, jpeg: Uint8Array): Promise<boolean> {
    return this.#track(this.#put(camera, preview, jpeg));
  }

  async newest(cameras: readonly string[]): Promise<ReadonlyMap<string, StoredPreview>> {
    const found = new Map<string, StoredPreview>();
    for (const camera of cameras) {
      const newest = this.#cameras.get(camera)?.newest;
      if (newest !== undefined) found.set(camera, newest);
    }
    return found;
  }

  async list(camera: string, { after, limit, ...range }: PreviewListQuery): Promise<PreviewPage> {
    const all = this.#inRange(camera, range);
    const previews = after === undefined ? all : all.filter((preview) => isBefore(preview, after));
    return { previews: previews.slice(0, limit), total: all.length };
  }

  async overview(camera: string, frames: number, range: PreviewRange = {}): Promise<PreviewPage> {
    const all = this.#inRange(camera, range);
    return { previews: spread(all, frames), total: all.length };
  }

  async read(camera: string, capture: string | undefined) {
    const stored = this.#cameras.get(camera);
    const preview = capture === undefined ? stored?.newest : stored?.get(capture);
    if (preview === undefined) return undefined;
    const jpeg = await this.#files.read(camera, preview);
    return jpeg === undefined ? undefined : { preview, jpeg };
  }

  async close(): Promise<void> {
    clearInterval(this.#sweep);
    while (this.#pending.size > 0) await Promise.allSettled(this.#pending);
  }

  async #put(camera: string, preview: StoredPreview, jpeg: Uint8Array): Promise<boolean> {
    const before = this.#cameras.get(camera);
    const same = before?.get(preview.capture);
    if (same?.etag === preview.etag) return before?.newest === same;
    await this.#files.write(camera, preview, jpeg);
    const stored = this.#camera(camera);
    // Looked up again: other previews of this camera may have been written meanwhile.
    const older = stored.get(preview.capture);
    if (older !== undefined) await this.#drop(camera, stored, older);
    this.#add(stored, preview);
    // Moves the camera to the end, so that the camera that has been silent longest stays first.
    this.#cameras.delete(camera);
    this.#cameras.set(camera, stored);
    const isNewest = stored.newest === preview;
    await this.#enforce([[camera, stored]]);
    return isNewest;
  }

  #inRange(camera: string, range: PreviewRange): readonly StoredPreview[] {
    return this.#cameras.get(camera)?.descending(this.#now() - this.#limits.keepMs, range) ?? [];
  }

  #camera(camera: string): CameraPreviews {
    const known = this.#cameras.get(camera);
    if (known !== undefined) return known;
    const stored = new CameraPreviews();
    this.#cameras.set(camera, stored);
    return stored;
  }

  #add(stored: CameraPreviews, preview: StoredPreview): void {
    stored.add(preview);
    this.#count++;
    this.#bytes += preview.sizeBytes;
  }

  #drop(camera: string, stored: CameraPreviews, preview: StoredPreview): Promise<void> {
    stored.remove(preview);
    this.#count--;
    this.#bytes -= preview.sizeBytes;
    return this.#files.remove(camera, preview);
  }

  /** Removes previews above the limits. A camera's newest preview is removed only together with the camera. */
  async #enforce(cameras: Iterable<[string, CameraPreviews]> = this.#cameras): Promise<void> {
    const { keepMs, maxPreviewsPerCamera, maxBytesPerCamera, maxPreviews, maxBytes, maxCameras } = this.#limits;
    const removals: Promise<void>[] = [];
    for (const [camera, stored] of this.#cameras) {
      if (this.#cameras.size <= maxCameras) break;
      this.#cameras.delete(camera);
      this.#count -= stored.size;
      this.#bytes -= stored.bytes;
      removals.push(this.#files.removeFolder(camera));
    }
    const since = this.#now() - keepMs;
    for (const [camera, stored] of cameras) {
      for (const old of stored.arrivedBefore(since)) removals.push(this.#drop(camera, stored, old));
      for (let oldest = stored.oldest; oldest !== undefined && stored.size > 1; oldest = stored.oldest) {
        if (stored.size <= maxPreviewsPerCamera && stored.bytes <= maxBytesPerCamera) break;
        removals.push(this.#drop(camera, stored, oldest));
      }
    }
    while (this.#count > maxPreviews || this.#bytes > maxBytes) {
      const found = this.#oldestRemovable();
      if (found === undefined) break;
      removals.push(this.#drop(found.camera, found.stored, found.oldest));
    }
    await this.#track(Promise.all(removals));
  }

  #oldestRemovable() {
    let found: { camera: string; stored: CameraPreviews; oldest: StoredPreview } | undefined;
    for (const [camera, stored] of this.#cameras) {
      const { oldest, size } = stored;
      if (oldest === undefined || size <= 1) continue;
      if (found === undefined || oldest.takenAt < found.oldest.takenAt) found = { camera, stored, oldest };
    }
    return found;
  }

  #track<T>(work: Promise<T>): Promise<T> {
    const settled = work.catch(() => undefined);
    this.#pending.add(settled);
    void settled.then(() => this.#pending.delete(settled));
    return work;
  }
}

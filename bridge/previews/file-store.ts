import { Album } from "./album.ts";
import { PreviewFiles } from "./preview-files.ts";
import {
  type PreviewLimits,
  type PreviewPage,
  type PreviewStore,
  type StoredPreview,
  spread,
} from "./preview-store.ts";

/** Between two looks for pictures that have become too old, milliseconds. */
const SWEEP_MS = 10 * 60_000;

export interface FilePreviewStoreOptions {
  /** The folder of the pictures; made when it is not there. */
  path: string;
  limits: PreviewLimits;
  /** Milliseconds since 1970. */
  now: () => number;
}

/** Pictures in files of this node, what is known of them in memory. */
export async function openFilePreviewStore(options: FilePreviewStoreOptions): Promise<PreviewStore> {
  const store = new FilePreviewStore(options);
  await store.load();
  return store;
}

class FilePreviewStore implements PreviewStore {
  readonly #files: PreviewFiles;
  readonly #limits: PreviewLimits;
  readonly #now: () => number;
  /** The camera that was silent longest first. */
  readonly #albums = new Map<string, Album>();
  readonly #underWay = new Set<Promise<unknown>>();
  #count = 0;
  #bytes = 0;
  #sweep: NodeJS.Timeout | undefined;

  constructor({ path, limits, now }: FilePreviewStoreOptions) {
    this.#files = new PreviewFiles(path);
    this.#limits = limits;
    this.#now = now;
  }

  async load(): Promise<void> {
    const found: { camera: string; previews: StoredPreview[] }[] = [];
    for await (const one of this.#files.load()) found.push(one);
    const lastSaved = ({ previews }: { previews: StoredPreview[] }) =>
      previews.reduce((last, { savedAt }) => Math.max(last, savedAt), 0);
    found.sort((one, other) => lastSaved(one) - lastSaved(other));
    const replaced: Promise<void>[] = [];
    for (const { camera, previews } of found) {
      const album = this.#album(camera);
      // The program may have died between writing a picture and removing the one whose place it took.
      for (const preview of previews.sort((one, other) => one.savedAt - other.savedAt)) {
        const older = album.get(preview.capture);
        if (older !== undefined) replaced.push(this.#drop(camera, album, older));
        this.#add(album, preview);
      }
    }
    await Promise.all([...replaced, this.#enforce()]);
    this.#sweep = setInterval(() => void this.#enforce().catch(() => undefined), SWEEP_MS);
    this.#sweep.unref();
  }

  put(camera: string, preview: StoredPreview, jpeg: Uint8Array): Promise<boolean> {
    return this.#track(this.#put(camera, preview, jpeg));
  }

  async newest(cameras: readonly string[]): Promise<ReadonlyMap<string, StoredPreview>> {
    const found = new Map<string, StoredPreview>();
    for (const camera of cameras) {
      const newest = this.#albums.get(camera)?.newest;
      if (newest !== undefined) found.set(camera, newest);
    }
    return found;
  }

  async list(camera: string, { after, limit }: Parameters<PreviewStore["list"]>[1]): Promise<PreviewPage> {
    const album = this.#albums.get(camera);
    if (album === undefined) return { previews: [], total: 0 };
    const since = this.#now() - this.#limits.keepMs;
    return {
      previews: album.descending(since, after).slice(0, limit),
      total: album.descending(since).length,
    };
  }

  async overview(camera: string, frames: number): Promise<PreviewPage> {
    const all = this.#albums.get(camera)?.descending(this.#now() - this.#limits.keepMs) ?? [];
    const chosen = spread(
      all.map(({ takenAt }) => takenAt),
      frames,
    );
    return { previews: chosen.flatMap((index) => all[index] ?? []), total: all.length };
  }

  async read(camera: string, capture: string | undefined) {
    const album = this.#albums.get(camera);
    const preview = capture === undefined ? album?.newest : album?.get(capture);
    if (preview === undefined) return undefined;
    const jpeg = await this.#files.read(camera, preview);
    return jpeg === undefined ? undefined : { preview, jpeg };
  }

  async close(): Promise<void> {
    clearInterval(this.#sweep);
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
  }

  async #put(camera: string, preview: StoredPreview, jpeg: Uint8Array): Promise<boolean> {
    const before = this.#albums.get(camera);
    const same = before?.get(preview.capture);
    if (same?.etag === preview.etag) return before?.newest === same;
    await this.#files.write(camera, preview, jpeg);
    const album = this.#album(camera);
    // Looked up again: others of this camera were written meanwhile.
    const older = album.get(preview.capture);
    if (older !== undefined) await this.#drop(camera, album, older);
    this.#add(album, preview);
    // Re-inserted, so that the map's first is the camera that was silent longest.
    this.#albums.delete(camera);
    this.#albums.set(camera, album);
    const isNewest = album.newest === preview;
    await this.#enforce([[camera, album]]);
    return isNewest;
  }

  #album(camera: string): Album {
    const known = this.#albums.get(camera);
    if (known !== undefined) return known;
    const album = new Album();
    this.#albums.set(camera, album);
    return album;
  }

  #add(album: Album, preview: StoredPreview): void {
    album.add(preview);
    this.#count++;
    this.#bytes += preview.sizeBytes;
  }

  #drop(camera: string, album: Album, preview: StoredPreview): Promise<void> {
    album.remove(preview);
    this.#count--;
    this.#bytes -= preview.sizeBytes;
    return this.#files.remove(camera, preview);
  }

  /** Brings everything below its limit again. The newest picture of a camera goes only with the camera. */
  async #enforce(albums: Iterable<[string, Album]> = this.#albums): Promise<void> {
    const { keepMs, maxPreviewsPerCamera, maxBytesPerCamera, maxPreviews, maxBytes, maxCameras } = this.#limits;
    const removals: Promise<void>[] = [];
    for (const [camera, album] of this.#albums) {
      if (this.#albums.size <= maxCameras) break;
      this.#albums.delete(camera);
      this.#count -= album.size;
      this.#bytes -= album.bytes;
      removals.push(this.#files.removeFolder(camera));
    }
    const since = this.#now() - keepMs;
    for (const [camera, album] of albums) {
      for (const old of album.arrivedBefore(since)) removals.push(this.#drop(camera, album, old));
      for (let oldest = album.oldest; oldest !== undefined && album.size > 1; oldest = album.oldest) {
        if (album.size <= maxPreviewsPerCamera && album.bytes <= maxBytesPerCamera) break;
        removals.push(this.#drop(camera, album, oldest));
      }
    }
    while (this.#count > maxPreviews || this.#bytes > maxBytes) {
      const found = this.#oldestOfAll();
      if (found === undefined) break;
      removals.push(this.#drop(found.camera, found.album, found.oldest));
    }
    await this.#track(Promise.all(removals));
  }

  #oldestOfAll(): { camera: string; album: Album; oldest: StoredPreview } | undefined {
    let found: { camera: string; album: Album; oldest: StoredPreview } | undefined;
    for (const [camera, album] of this.#albums) {
      const { oldest, size } = album;
      if (oldest === undefined || size <= 1) continue;
      if (found === undefined || oldest.takenAt < found.oldest.takenAt) found = { camera, album, oldest };
    }
    return found;
  }

  #track<T>(work: Promise<T>): Promise<T> {
    const settled = work.then(
      () => undefined,
      () => undefined,
    );
    this.#underWay.add(settled);
    void settled.then(() => this.#underWay.delete(settled));
    return work;
  }
}

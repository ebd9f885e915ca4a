import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isId } from "../../contract/ids.ts";
import { syncFolder } from "../../platform/sync-folder.ts";
import type { StoredPreview } from "./preview-store.ts";

/**
 * Previews as files in one folder per camera: `{takenAt}.{savedAt}.{capture}.{bytes}.{etag}.jpg`. The file name holds
 * all metadata, so a start only lists the folders. A file is written once and never changed: after a crash, it is
 * complete or missing.
 */
export class PreviewFiles {
  readonly #root: string;
  /** Cameras whose folder exists. */
  readonly #folders = new Set<string>();
  /** The running sync of each folder. */
  readonly #syncing = new Map<string, Promise<void>>();
  /** The sync that follows the running one of each folder. */
  readonly #syncNext = new Map<string, Promise<void>>();
  #temporaryCount = 0;

  constructor(root: string) {
    this.#root = root;
  }

  /** Lists all previews. Removes incomplete files of a killed program, and keeps files that are not previews. */
  async *load(): AsyncIterable<{ camera: string; previews: StoredPreview[] }> {
    await mkdir(this.#root, { recursive: true, mode: 0o700 });
    for (const folder of await readdir(this.#root, { withFileTypes: true })) {
      if (!folder.isDirectory() || !isId(folder.name)) continue;
      this.#folders.add(folder.name);
      const previews: StoredPreview[] = [];
      for (const name of await readdir(join(this.#root, folder.name))) {
        const preview = previewOf(name);
        if (preview !== undefined) previews.push(preview);
        else if (name.endsWith(".tmp")) await rm(join(this.#root, folder.name, name), { force: true });
      }
      yield { camera: folder.name, previews };
    }
  }

  /** Resolves when the preview survives a power cut. */
  async write(camera: string, preview: StoredPreview, jpeg: Uint8Array): Promise<void> {
    const folder = join(this.#root, camera);
    try {
      if (!this.#folders.has(camera)) {
        await mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
          if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
        });
        await this.#sync(this.#root);
        this.#folders.add(camera);
      }
      const file = join(folder, fileNameOf(preview));
      const temporary = `${file}.${++this.#temporaryCount}.tmp`;
      await writeFile(temporary, jpeg, { flag: "wx", mode: 0o600, flush: true });
      await rename(temporary, file);
      await this.#sync(folder);
    } catch (error) {
      this.#folders.delete(camera);
      throw error;
    }
  }

  async read(camera: string, preview: StoredPreview): Promise<Buffer | undefined> {
    try {
      return await readFile(join(this.#root, camera, fileNameOf(preview)));
    } catch {
      return undefined;
    }
  }

  async remove(camera: string, preview: StoredPreview): Promise<void> {
    await rm(join(this.#root, camera, fileNameOf(preview)), { force: true });
  }

  async removeFolder(camera: string): Promise<void> {
    this.#folders.delete(camera);
    await rm(join(this.#root, camera), { recursive: true, force: true });
  }

  /** Runs one sync of a folder at a time. Callers that arrive during a sync share the next one. */
  #sync(folder: string): Promise<void> {
    const next = this.#syncNext.get(folder);
    if (next !== undefined) return next;
    const current = this.#syncing.get(folder);
    const start = (): Promise<void> => {
      this.#syncNext.delete(folder);
      const done = syncFolder(folder).finally(() => this.#syncing.delete(folder));
      this.#syncing.set(folder, done);
      return done;
    };
    if (current === undefined) return start();
    const following = current.catch(() => undefined).then(start);
    this.#syncNext.set(folder, following);
    return following;
  }
}

const NAME = /^(\d{1,15})\.(\d{1,15})\.([a-z0-9][a-z0-9-]{0,62})\.(\d{1,9})\.([A-Za-z0-9_-]{27})\.jpg$/;

function fileNameOf({ takenAt, savedAt, capture, sizeBytes, etag }: StoredPreview): string {
  return `${takenAt}.${savedAt}.${capture}.${sizeBytes}.${etag.slice(1, -1)}.jpg`;
}

function previewOf(name: string): StoredPreview | undefined {
  const [, takenAt, savedAt, capture, bytes, digest] = NAME.exec(name) ?? [];
  if (capture === undefined) return undefined;
  const [times, sizeBytes] = [{ takenAt: Number(takenAt), savedAt: Number(savedAt) }, Number(bytes)];
  return { ...times, capture, sizeBytes, etag: `"${digest}"` };
}

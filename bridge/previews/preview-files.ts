import { mkdir, open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isId } from "../../contract/ids.ts";
import type { StoredPreview } from "./preview-store.ts";

/**
 * Pictures as files, a folder for each camera: `{takenAt}.{savedAt}.{capture}.{bytes}.{etag}.jpg`. A file's name says
 * all that is known of it, so that a start reads folders and no pictures; and a file has one content for ever, so that
 * after a crash each is there whole or not at all.
 */
export class PreviewFiles {
  readonly #root: string;
  readonly #folders = new Set<string>();
  readonly #syncing = new Map<string, Promise<void>>();
  readonly #syncNext = new Map<string, Promise<void>>();
  #temporary = 0;

  constructor(root: string) {
    this.#root = root;
  }

  /** Everything there is. Half-written files of a program that was killed are removed; foreign ones stay untouched. */
  async *load(): AsyncIterable<{ camera: string; previews: StoredPreview[] }> {
    await mkdir(this.#root, { recursive: true, mode: 0o700 });
    for (const folder of await readdir(this.#root, { withFileTypes: true })) {
      if (!folder.isDirectory() || !isId(folder.name)) continue;
      this.#folders.add(folder.name);
      const previews: StoredPreview[] = [];
      for (const name of await readdir(join(this.#root, folder.name))) {
        const preview = readName(name);
        if (preview !== undefined) previews.push(preview);
        else if (name.endsWith(".tmp")) await rm(join(this.#root, folder.name, name), { force: true });
      }
      yield { camera: folder.name, previews };
    }
  }

  /** Resolves when the picture would survive a power cut. */
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
      const file = join(folder, writeName(preview));
      const temporary = `${file}.${++this.#temporary}.tmp`;
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
      return await readFile(join(this.#root, camera, writeName(preview)));
    } catch {
      return undefined;
    }
  }

  async remove(camera: string, preview: StoredPreview): Promise<void> {
    await rm(join(this.#root, camera, writeName(preview)), { force: true });
  }

  async removeFolder(camera: string): Promise<void> {
    this.#folders.delete(camera);
    await rm(join(this.#root, camera), { recursive: true, force: true });
  }

  /** One sync of a folder at a time: those who come while one is under way share the next. */
  #sync(folder: string): Promise<void> {
    const next = this.#syncNext.get(folder);
    if (next !== undefined) return next;
    const underWay = this.#syncing.get(folder);
    const start = (): Promise<void> => {
      this.#syncNext.delete(folder);
      const done = syncFolder(folder).finally(() => this.#syncing.delete(folder));
      this.#syncing.set(folder, done);
      return done;
    };
    if (underWay === undefined) return start();
    const following = underWay.catch(() => undefined).then(start);
    this.#syncNext.set(folder, following);
    return following;
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const NAME = /^(\d{1,15})\.(\d{1,15})\.([a-z0-9][a-z0-9-]{0,62})\.(\d{1,9})\.([A-Za-z0-9_-]{27})\.jpg$/;

function writeName({ takenAt, savedAt, capture, sizeBytes, etag }: StoredPreview): string {
  return `${takenAt}.${savedAt}.${capture}.${sizeBytes}.${etag.slice(1, -1)}.jpg`;
}

function readName(name: string): StoredPreview | undefined {
  const [, takenAt, savedAt, capture, sizeBytes, digest] = NAME.exec(name) ?? [];
  if (capture === undefined || digest === undefined) return undefined;
  return {
    takenAt: Number(takenAt),
    savedAt: Number(savedAt),
    capture,
    sizeBytes: Number(sizeBytes),
    etag: `"${digest}"`,
  };
}

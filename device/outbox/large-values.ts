import { mkdir, open, readdir, stat, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder } from "../../platform/sync-folder.ts";

/** The size of the largest preview. */
export const MAX_LARGE_BYTES = 64 * 1024;
/** As many buffers as messages can be in flight. */
const MAX_SPARE_BUFFERS = 16;

/**
 * Values stored as files in the database's folder. LevelDB maps what it reads into memory, and rewrites each value
 * several times: a day's previews were 100 MB of resident memory, and wore out the SD card.
 */
export class LargeValues {
  readonly #folder: string;
  readonly #keys: Set<string>;
  /** Buffers for reuse: at a hundred previews a second, new buffers would fill 64 MB before V8 collects garbage. */
  readonly #spareBuffers: Buffer[] = [];

  private constructor(folder: string, keys: Iterable<string>) {
    this.#folder = folder;
    this.#keys = new Set(keys);
  }

  /** @param path the database's folder: LevelDB ignores subfolders */
  static async open(path: string): Promise<LargeValues> {
    const folder = join(path, "large");
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return new LargeValues(folder, await readdir(folder));
  }

  /**
   * Deletes the oldest values of a closed database until `bytes` are freed. Their messages will be reported as dropped.
   * @returns false when there are no values
   */
  static async deleteOldest(path: string, bytes: number): Promise<boolean> {
    const folder = join(path, "large");
    const names: string[] = await readdir(folder).catch(() => []);
    let freed = 0;
    for (const name of names.sort()) {
      if (freed >= bytes) break;
      const { size } = await stat(join(folder, name));
      await unlink(join(folder, name));
      freed += size;
    }
    return freed > 0;
  }

  has(key: string): boolean {
    return this.#keys.has(key);
  }

  /**
   * Resolves when the values are durable. @throws when they cannot be written; {@link has} is then true even for a
   * value that is partly written
   */
  async put(values: ReadonlyMap<string, Uint8Array>): Promise<void> {
    if (values.size === 0) return;
    for (const [key, value] of values) {
      this.#keys.add(key);
      await writeFile(this.#fileOf(key), value, { mode: 0o600, flush: true });
    }
    await syncFolder(this.#folder);
  }

  /** Undefined for an unreadable value. Give the value back with {@link recycle}. */
  async read(key: string): Promise<Uint8Array | undefined> {
    try {
      const handle = await open(this.#fileOf(key), "r");
      try {
        const buffer = this.#spareBuffers.pop() ?? Buffer.allocUnsafeSlow(MAX_LARGE_BYTES);
        const { bytesRead } = await handle.read(buffer, 0, MAX_LARGE_BYTES, 0);
        return buffer.subarray(0, bytesRead);
      } finally {
        await handle.close();
      }
    } catch {
      return undefined;
    }
  }

  /** Reuses the buffer of a value from {@link read}; ignores other values. */
  recycle(value: Uint8Array): void {
    const { buffer, byteOffset } = value;
    if (this.#spareBuffers.length < MAX_SPARE_BUFFERS && byteOffset === 0 && buffer.byteLength === MAX_LARGE_BYTES)
      this.#spareBuffers.push(Buffer.from(buffer));
  }

  /** {@link keepOnly} deletes a remaining file at the next start. */
  async delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) if (this.#keys.delete(key)) await unlink(this.#fileOf(key)).catch(() => {});
  }

  /** Deletes unreferenced values, which a power cut left behind. */
  keepOnly(isReferred: (key: string) => boolean): Promise<void> {
    return this.delete([...this.#keys].filter((key) => !isReferred(key)));
  }

  #fileOf(key: string): string {
    return join(this.#folder, key);
  }
}

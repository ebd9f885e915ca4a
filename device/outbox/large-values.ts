import { mkdir, open, readdir, stat, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder } from "../../platform/sync-folder.ts";

/** The largest value: that of a preview. */
export const MAX_LARGE_BYTES = 64 * 1024;
/** As many as can be under way at once. */
const MAX_SPARE = 16;

/**
 * Values that are files of their own, below the database that has all others. LevelDB maps what it reads into memory and
 * writes each value several times over: a day's previews were 100 MB of resident set and a lot of wear of an SD card.
 */
export class LargeValues {
  readonly #folder: string;
  readonly #keys: Set<string>;
  /** Used again: a hundred pictures a second would fill 64 MB before garbage is collected on their account. */
  readonly #spare: Buffer[] = [];

  private constructor(folder: string, keys: Iterable<string>) {
    this.#folder = folder;
    this.#keys = new Set(keys);
  }

  /** @param path of the database; LevelDB heeds no folder in its own */
  static async open(path: string): Promise<LargeValues> {
    const folder = join(path, "large");
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return new LargeValues(folder, await readdir(folder));
  }

  /**
   * Removes the oldest of a database that the disk has no room to open: what they belong to is then found unreadable, and
   * told as dropped.
   * @returns false when there are none
   */
  static async makeRoom(path: string, bytes: number): Promise<boolean> {
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

  /** Resolves when they are durable. @throws when the disk does not take them; what is half there counts as there */
  async put(values: ReadonlyMap<string, Uint8Array>): Promise<void> {
    if (values.size === 0) return;
    for (const [key, value] of values) {
      this.#keys.add(key);
      await writeFile(this.#fileOf(key), value, { mode: 0o600, flush: true });
    }
    await syncFolder(this.#folder);
  }

  /** Undefined for one that cannot be read. Give it back by {@link recycle}, if nobody has it any more. */
  async read(key: string): Promise<Uint8Array | undefined> {
    try {
      const handle = await open(this.#fileOf(key), "r");
      try {
        const buffer = this.#spare.pop() ?? Buffer.allocUnsafeSlow(MAX_LARGE_BYTES);
        const { bytesRead } = await handle.read(buffer, 0, MAX_LARGE_BYTES, 0);
        return buffer.subarray(0, bytesRead);
      } finally {
        await handle.close();
      }
    } catch {
      return undefined;
    }
  }

  /** Takes back what {@link read} gave; of anything else nothing comes. */
  recycle(value: Uint8Array): void {
    const { buffer, byteOffset } = value;
    if (this.#spare.length < MAX_SPARE && byteOffset === 0 && buffer.byteLength === MAX_LARGE_BYTES)
      this.#spare.push(Buffer.from(buffer));
  }

  /** Removes those that are there. One that the disk does not let go is removed by {@link keepOnly} of the next start. */
  async delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) if (this.#keys.delete(key)) await unlink(this.#fileOf(key)).catch(() => {});
  }

  /** Removes what nothing refers to: the power went before it was referred to, or after it no longer was. */
  keepOnly(referred: (key: string) => boolean): Promise<void> {
    return this.delete([...this.#keys].filter((key) => !referred(key)));
  }

  #fileOf(key: string): string {
    return join(this.#folder, key);
  }
}

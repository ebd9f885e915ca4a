import type { ClassicLevel } from "classic-level";

export type Database = ClassicLevel<string, string>;

const BYTES = { valueEncoding: "view" } as const;

/** The puts and deletes of one atomic write, in order. */
export class WriteSet {
  readonly keys: string[] = [];
  /** Undefined deletes the key. */
  readonly #values: (string | Uint8Array | undefined)[] = [];

  get size(): number {
    return this.keys.length;
  }

  put(key: string, value: string | Uint8Array): void {
    this.keys.push(key);
    this.#values.push(value);
  }

  del(key: string): void {
    this.keys.push(key);
    this.#values.push(undefined);
  }

  add(other: WriteSet): void {
    for (let index = 0; index < other.keys.length; index++) {
      this.keys.push(other.keys[index] ?? "");
      this.#values.push(other.#values[index]);
    }
  }

  async write(db: Database, sync: boolean): Promise<void> {
    // A chained batch passes each row to LevelDB directly. An array of operations would be copied.
    const batch = db.batch();
    for (let index = 0; index < this.keys.length; index++) {
      const key = this.keys[index] ?? "";
      const value = this.#values[index];
      if (value === undefined) batch.del(key);
      else if (typeof value === "string") batch.put(key, value);
      else batch.put<string, Uint8Array>(key, value, BYTES);
    }
    await batch.write({ sync });
  }
}

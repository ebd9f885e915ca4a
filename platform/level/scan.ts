import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { unreadableParts } from "./log-file.ts";
import { checkTable, type TableDamage } from "./table-file.ts";

export interface DamagedTable {
  file: string;
  damages: TableDamage[];
}

export interface StoreScan {
  tables: DamagedTable[];
  /** The parts of the write-ahead logs that LevelDB leaves out. */
  logParts: Buffer[];
  /** Number of files read. */
  files: number;
  bytes: number;
}

/** Reads every file of a store and compares it with its checksums. Changes no file; the store may be open. */
export async function scanStore(folder: string): Promise<StoreScan> {
  const scan: StoreScan = { tables: [], logParts: [], files: 0, bytes: 0 };
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  // LevelDB has only regular files. Reading another kind of file, such as a pipe, might never end.
  const names = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
  for (const name of names.sort()) {
    const isTable = /\.(ldb|sst)$/.test(name);
    if (!isTable && !/^\d+\.log$/.test(name)) continue;
    const file = join(folder, name);
    const bytes = await readFile(file).catch((error: unknown) => {
      // After the folder was read, the process that has the store open removed this file by a compaction.
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
      throw error;
    });
    if (bytes === undefined) continue;
    scan.files++;
    scan.bytes += bytes.length;
    if (!isTable) {
      scan.logParts.push(...unreadableParts(bytes));
      continue;
    }
    const damages = checkTable(bytes);
    if (damages.length > 0) scan.tables.push({ file, damages });
  }
  return scan;
}

/**
 * Searches unreadable bytes for keys, and returns the names in them. Most of the bytes are intact: in 32 KiB, perhaps
 * 8 bytes have changed. Each key is preceded by its length.
 * @param keyStart matches the start of a key; must have the flag `g`
 * @param nameOf returns the name in a key; undefined for a key without a name
 */
export function namesIn(
  parts: readonly Buffer[],
  keyStart: RegExp,
  nameOf: (key: string) => string | undefined,
): string[] {
  const names = new Set<string>();
  for (const part of parts) {
    const text = part.toString("latin1");
    for (const { index } of text.matchAll(keyStart)) {
      const name = nameOf(text.slice(index, index + lengthBefore(part, index)));
      if (name !== undefined) names.add(name);
    }
  }
  return [...names].sort();
}

/**
 * Reads the varint that ends at `end`. A number up to 127 takes one byte, a larger one takes two; the high bit of the
 * first of two is set.
 */
function lengthBefore(bytes: Buffer, end: number): number {
  const high = bytes[end - 1] ?? 0;
  const low = bytes[end - 2] ?? 0;
  // The byte before a one-byte length is the kind of the record, 0 or 1.
  return low >= 0x80 ? high * 128 + (low & 0x7f) : high;
}

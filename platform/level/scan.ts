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
  /** What LevelDB leaves out of the write-ahead logs, byte by byte. */
  logParts: Buffer[];
  /** Files that were read. */
  files: number;
  bytes: number;
}

/** Reads every file of a store and compares it with its checksums. Changes nothing; the store may be open. */
export async function scanStore(folder: string): Promise<StoreScan> {
  const scan: StoreScan = { tables: [], logParts: [], files: 0, bytes: 0 };
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  // What is no file is none of LevelDB's, and reading it may never end.
  const names = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
  for (const name of names.sort()) {
    const isTable = /\.(ldb|sst)$/.test(name);
    if (!isTable && !/^\d+\.log$/.test(name)) continue;
    const file = join(folder, name);
    const bytes = await readFile(file).catch((error: unknown) => {
      // Compacted away since the folder was read, by the process that has the store open.
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
 * What keys name in bytes that cannot be read as records: of 8 changed bytes in 32 KiB the rest is as it was. Before each
 * key stands its length.
 * @param keyStart where a key begins, global
 * @param nameOf undefined for a key that names nobody
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

/** A number of variable length that ends there: up to 127 it takes one byte, beyond it the byte before is marked. */
function lengthBefore(bytes: Buffer, end: number): number {
  const high = bytes[end - 1] ?? 0;
  const low = bytes[end - 2] ?? 0;
  // What stands before one byte of length is the kind of the record, 0 or 1.
  return low >= 0x80 ? high * 128 + (low & 0x7f) : high;
}

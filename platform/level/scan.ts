import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { unreadableParts } from "./log-file.ts";
import { tablesInUse } from "./manifest.ts";
import { checkTable, type TableDamage } from "./table-file.ts";

export interface StoreScan {
  /** The damaged tables. */
  tables: { file: string; damages: TableDamage[] }[];
  /** The parts of the write-ahead logs that LevelDB cannot read. */
  logParts: Buffer[];
  files: number;
  bytes: number;
}

/**
 * Compares every file of a store with its checksums. The store may be open. A table that is being written, or that a
 * killed process has not finished, holds no rows of its own: LevelDB ignores and removes such a table.
 */
export async function scanStore(folder: string): Promise<StoreScan> {
  const scan: StoreScan = { tables: [], logParts: [], files: 0, bytes: 0 };
  const inUse = await tablesInUse(folder);
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  // Reading another kind of file, such as a pipe, might never end.
  const names = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
  for (const name of names.sort()) {
    const isTable = /\.(ldb|sst)$/.test(name);
    if (!isTable && !/^\d+\.log$/.test(name)) continue;
    if (isTable && inUse?.has(Number.parseInt(name, 10)) === false) continue;
    const file = join(folder, name);
    // A compaction may remove a file of an open store.
    const bytes = await readFile(file).catch(ignoreMissing);
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

/** Undefined for a missing file. @throws any other error */
export function ignoreMissing(error: unknown): undefined {
  if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
  throw error;
}

/**
 * Searches damaged bytes for keys, and returns the names in the keys. The length of a key precedes the key.
 * @param keyStart matches the start of a key; must have the flag `g`
 * @param nameOf the name in a key
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

/** Reads the varint that ends at `end`. Two bytes hold a number above 127; the high bit of the first byte is set. */
function lengthBefore(bytes: Buffer, end: number): number {
  const high = bytes[end - 1] ?? 0;
  const low = bytes[end - 2] ?? 0;
  // The byte before a one-byte length is the kind of the record, 0 or 1.
  return low >= 0x80 ? high * 128 + (low & 0x7f) : high;
}

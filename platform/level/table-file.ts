import { crc32c, unmasked } from "./crc32c.ts";
import { uncompress } from "./snappy.ts";
import { readVarint } from "./varint.ts";

/** The keys that a damaged block may have held: above `from` ("" if unknown), up to and including `to`. */
export interface KeyRange {
  from: string;
  to: string;
}

export type TableDamage =
  /** The index, and so the whole table, is unreadable. */
  | { kind: "table"; reason: string }
  /** One block is damaged. `typeAt` is the offset of its compression type. */
  | { kind: "rows"; range: KeyRange; typeAt: number; bytes: number }
  /** The filter, which only speeds up reads, is damaged: an existing row could seem missing. */
  | { kind: "filter"; typeAt: number };

interface Handle {
  offset: number;
  size: number;
}

const FOOTER_BYTES = 48;
const MAGIC = "57fb808b247547db";
/** The compression type and checksum after each block. */
const TRAILER_BYTES = 5;
/** The sequence number and kind at the end of each key. */
const SEQUENCE_BYTES = 8;
const [RAW, SNAPPY] = [0, 1];
/**
 * No compression type of LevelDB: it regards a block with this type as unreadable, and a filter with this type as
 * missing.
 */
export const UNREADABLE_TYPE = 0xff;

class UnreadableBlockError extends Error {
  override name = "UnreadableBlockError";
}

/**
 * Compares each block of a table with its checksum. With `classic-level`, LevelDB compares no checksums: it accepts
 * changed bytes as data, and silently skips a block that it cannot decompress.
 * @see https://github.com/google/leveldb/blob/main/doc/table_format.md
 */
export function checkTable(file: Buffer): TableDamage[] {
  let metaIndex: Handle;
  let index: Buffer;
  try {
    const footer = file.subarray(-FOOTER_BYTES);
    if (footer.length < FOOTER_BYTES || footer.subarray(-8).toString("hex") !== MAGIC)
      throw new UnreadableBlockError("it has no footer of a table");
    const meta = readHandle(footer, 0);
    metaIndex = meta.handle;
    index = readBlock(file, readHandle(footer, meta.end).handle);
  } catch (error) {
    return [{ kind: "table", reason: reasonOf(error) }];
  }
  const damages: TableDamage[] = [];
  const typeAt = metaIndex.offset + metaIndex.size;
  if (!isFilterSound(file, metaIndex) && file[typeAt] !== UNREADABLE_TYPE) damages.push({ kind: "filter", typeAt });
  let from = "";
  try {
    for (const { key, value } of rowsOf(index)) {
      const to = key.toString("utf8", 0, key.length - SEQUENCE_BYTES);
      const { handle } = readHandle(value, 0);
      if (!isSound(file, handle))
        damages.push({ kind: "rows", range: { from, to }, typeAt: handle.offset + handle.size, bytes: handle.size });
      from = to;
    }
  } catch (error) {
    return [{ kind: "table", reason: reasonOf(error) }];
  }
  return damages;
}

function reasonOf(error: unknown): string {
  return error instanceof UnreadableBlockError ? error.message : "its index cannot be read";
}

function isFilterSound(file: Buffer, metaIndex: Handle): boolean {
  try {
    for (const { value } of rowsOf(readBlock(file, metaIndex)))
      if (!isSound(file, readHandle(value, 0).handle)) return false;
    return true;
  } catch {
    return false;
  }
}

function isSound(file: Buffer, { offset, size }: Handle): boolean {
  const end = offset + size;
  if (end + TRAILER_BYTES > file.length) return false;
  return crc32c(file, offset, end + 1) === unmasked(file.readUInt32LE(end + 1));
}

function readBlock(file: Buffer, handle: Handle): Buffer {
  if (!isSound(file, handle)) throw new UnreadableBlockError("its index does not match its checksum");
  const { offset, size } = handle;
  const bytes = file.subarray(offset, offset + size);
  const type = file[offset + size];
  if (type === RAW) return bytes;
  if (type === SNAPPY) return uncompress(bytes);
  throw new UnreadableBlockError(`its index is compressed in an unknown way (${type})`);
}

/** Reads the rows of a block. A key is stored without the part that it shares with the key before. */
function* rowsOf(block: Buffer): Generator<{ key: Buffer; value: Buffer }> {
  const end = block.length - 4 - 4 * block.readUInt32LE(block.length - 4);
  let key = Buffer.alloc(0);
  for (let at = 0; at < end; ) {
    const shared = readVarint(block, at);
    const rest = readVarint(block, shared.end);
    const length = readVarint(block, rest.end);
    const valueAt = length.end + rest.value;
    key = Buffer.concat([key.subarray(0, shared.value), block.subarray(length.end, valueAt)]);
    at = valueAt + length.value;
    yield { key, value: block.subarray(valueAt, at) };
  }
}

function readHandle(bytes: Buffer, from: number): { handle: Handle; end: number } {
  const offset = readVarint(bytes, from);
  const size = readVarint(bytes, offset.end);
  return { handle: { offset: offset.value, size: size.value }, end: size.end };
}

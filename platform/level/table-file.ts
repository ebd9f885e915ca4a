import { crc32c, unmasked } from "./crc32c.ts";
import { uncompress } from "./snappy.ts";

/** Rows that a damaged block may have held: above `from`, up to and with `to`. `from` is "" where it is not known. */
export interface KeyRange {
  from: string;
  to: string;
}

/** What is wrong with one table. */
export type TableDamage =
  /** The index cannot be read, so nothing of the table can. */
  | { kind: "table"; reason: string }
  /** One block. `typeAt` is where the byte stands that says how it is compressed. */
  | { kind: "rows"; range: KeyRange; typeAt: number; bytes: number }
  /** The filter, which only makes reading faster: nothing is lost, but a row that is there could be taken for missing. */
  | { kind: "filter"; typeAt: number };

interface Handle {
  offset: number;
  size: number;
}

const FOOTER_BYTES = 48;
const MAGIC = "57fb808b247547db";
/** Behind each block: how it is compressed, and its checksum. */
const TRAILER_BYTES = 5;
/** Behind each key of a table: its sequence number and kind. */
const SEQUENCE_BYTES = 8;
const [RAW, SNAPPY] = [0, 1];
/** No way of compressing: LevelDB takes such a block for unreadable, and a filter with such an index for none. */
export const UNREADABLE_TYPE = 0xff;

class UnreadableBlockError extends Error {
  override name = "UnreadableBlockError";
}

/**
 * Compares each block of a table with its checksum, which LevelDB as `classic-level` calls it never does: it takes
 * changed bytes for data, or skips a block that cannot be decompressed without a word.
 * @see https://github.com/google/leveldb/blob/main/doc/table_format.md
 */
export function checkTable(file: Buffer): TableDamage[] {
  let metaIndex: Handle;
  let index: Buffer;
  try {
    const footer = file.subarray(-FOOTER_BYTES);
    if (footer.length < FOOTER_BYTES || footer.subarray(-8).toString("hex") !== MAGIC)
      throw new UnreadableBlockError("it does not end like a table");
    const meta = readHandle(footer, 0);
    metaIndex = meta.handle;
    index = readBlock(file, readHandle(footer, meta.end).handle);
  } catch (error) {
    return [{ kind: "table", reason: reasonOf(error) }];
  }
  const damages: TableDamage[] = [];
  if (!isFilterSound(file, metaIndex) && !isSetAside(file, metaIndex))
    damages.push({ kind: "filter", typeAt: metaIndex.offset + metaIndex.size });
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

function isSetAside(file: Buffer, { offset, size }: Handle): boolean {
  return file[offset + size] === UNREADABLE_TYPE;
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

/** Each key is what it shares with the one before, and a rest. The restart points at the end are for searching. */
function* rowsOf(block: Buffer): Generator<{ key: Buffer; value: Buffer }> {
  const end = block.length - 4 - 4 * block.readUInt32LE(block.length - 4);
  let key = Buffer.alloc(0);
  for (let at = 0; at < end; ) {
    const shared = readNumber(block, at);
    const rest = readNumber(block, shared.end);
    const length = readNumber(block, rest.end);
    const valueAt = length.end + rest.value;
    key = Buffer.concat([key.subarray(0, shared.value), block.subarray(length.end, valueAt)]);
    at = valueAt + length.value;
    yield { key, value: block.subarray(valueAt, at) };
  }
}

function readHandle(bytes: Buffer, from: number): { handle: Handle; end: number } {
  const offset = readNumber(bytes, from);
  const size = readNumber(bytes, offset.end);
  return { handle: { offset: offset.value, size: size.value }, end: size.end };
}

/** A number of variable length: seven bits a byte, the lowest first. */
function readNumber(bytes: Buffer, from: number): { value: number; end: number } {
  let value = 0;
  let factor = 1;
  for (let at = from; ; at++) {
    const byte = bytes.readUInt8(at);
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) return { value, end: at + 1 };
    factor *= 128;
  }
}

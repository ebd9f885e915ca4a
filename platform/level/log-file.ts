import { crc32c, unmasked } from "./crc32c.ts";

const BLOCK_BYTES = 32 * 1024;
/** The header of a record: checksum, length and type. */
const HEADER_BYTES = 7;
/** A record that is larger than the rest of its block is stored in parts. */
const [FULL, FIRST, , LAST] = [1, 2, 3, 4];

/**
 * The parts of a write-ahead log that LevelDB skips: a record that does not match its checksum, and the rest of its
 * 32 KiB block. A torn record at the end is no damage, because its write was never acknowledged.
 * @see https://github.com/google/leveldb/blob/main/doc/log_format.md
 */
export function unreadableParts(file: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let block = 0; block < file.length; block += BLOCK_BYTES) {
    const end = Math.min(block + BLOCK_BYTES, file.length);
    for (let at = block; at + HEADER_BYTES <= end; ) {
      const length = file.readUInt16LE(at + 4);
      const type = file[at + 6];
      const next = at + HEADER_BYTES + length;
      // The rest of the block was reserved but not written.
      if (type === 0 && length === 0) break;
      if (next > end) {
        if (end < file.length) parts.push(file.subarray(at, end));
        break;
      }
      if (crc32c(file, at + 6, next) !== unmasked(file.readUInt32LE(at))) {
        parts.push(file.subarray(at, end));
        break;
      }
      at = next;
    }
  }
  return parts;
}

/**
 * The records of a log file whose parts are all readable. A torn record at the end is left out.
 * @throws {RangeError} a part is unreadable
 */
export function* recordsOf(file: Buffer): Generator<Buffer> {
  if (unreadableParts(file).length > 0) throw new RangeError("a part of the log is unreadable");
  let parts: Buffer[] = [];
  for (let block = 0; block < file.length; block += BLOCK_BYTES) {
    const end = Math.min(block + BLOCK_BYTES, file.length);
    for (let at = block; at + HEADER_BYTES <= end; ) {
      const next = at + HEADER_BYTES + file.readUInt16LE(at + 4);
      const type = file[at + 6];
      if (type === 0 || next > end) break;
      if (type === FULL || type === FIRST) parts = [];
      parts.push(file.subarray(at + HEADER_BYTES, next));
      if (type === FULL || type === LAST) yield Buffer.concat(parts);
      at = next;
    }
  }
}

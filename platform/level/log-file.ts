import { crc32c, unmasked } from "./crc32c.ts";

const BLOCK_BYTES = 32 * 1024;
/** The header of a record: checksum, length and type. */
const HEADER_BYTES = 7;

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

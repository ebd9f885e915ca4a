import { crc32c, unmasked } from "./crc32c.ts";

const BLOCK_BYTES = 32 * 1024;
/** Checksum, length and type. */
const HEADER_BYTES = 7;

/**
 * The parts of a write-ahead log that LevelDB leaves out when it reads it: of a record that does not match its checksum
 * all that follows in its block of 32 KiB. A torn record at the end is no damage: nobody was told that it was written.
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
      // Room that was reserved and not written.
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

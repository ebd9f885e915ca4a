/**
 * Decompresses a Snappy block. @throws {RangeError} the bytes are not a Snappy block
 * @see https://github.com/google/snappy/blob/main/format_description.txt
 */
export function uncompress(bytes: Buffer): Buffer {
  let at = 0;
  let length = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes.readUInt8(at++);
    length += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) break;
  }
  const output = Buffer.alloc(length);
  let written = 0;
  while (at < bytes.length) {
    const tag = bytes.readUInt8(at++);
    if ((tag & 3) === 0) {
      // A literal. A length of 61 or more is stored in the next 1 to 4 bytes.
      const extraBytes = Math.max(0, (tag >> 2) - 59);
      const count = (extraBytes === 0 ? tag >> 2 : bytes.readUIntLE(at, extraBytes)) + 1;
      at += extraBytes;
      if (at + count > bytes.length || written + count > length) throw new RangeError("a literal is too long");
      bytes.copy(output, written, at, at + count);
      at += count;
      written += count;
      continue;
    }
    // A copy of earlier output. Source and target may overlap.
    const offsetBytes = (tag & 3) === 3 ? 4 : tag & 3;
    const isShort = (tag & 3) === 1;
    const count = isShort ? ((tag >> 2) & 7) + 4 : (tag >> 2) + 1;
    const offset = isShort ? ((tag >> 5) << 8) + bytes.readUInt8(at) : bytes.readUIntLE(at, offsetBytes);
    at += offsetBytes;
    if (offset === 0 || offset > written || written + count > length)
      throw new RangeError("a copy element refers to bytes outside the block");
    for (let copied = 0; copied < count; copied++, written++) output[written] = output[written - offset] ?? 0;
  }
  return output;
}

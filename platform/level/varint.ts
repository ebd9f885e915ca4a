/** Reads a whole number as LevelDB encodes it: seven bits a byte, the lowest first. @throws {RangeError} the bytes end */
export function readVarint(bytes: Buffer, from: number): { value: number; end: number } {
  let value = 0;
  let factor = 1;
  for (let at = from; ; at++) {
    const byte = bytes.readUInt8(at);
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) return { value, end: at + 1 };
    factor *= 128;
  }
}

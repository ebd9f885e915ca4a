const INITIAL_BYTES = 64;
const MAX_TWO_BYTES = 0xffff;

/** Writes the data types of MQTT 5.0, section 1.5. */
export class ByteWriter {
  #bytes = Buffer.allocUnsafe(INITIAL_BYTES);
  length = 0;

  byte(value: number): this {
    this.#reserve(1);
    this.#bytes[this.length++] = value;
    return this;
  }

  twoBytes(value: number): this {
    this.#reserve(2);
    this.length = this.#bytes.writeUInt16BE(value, this.length);
    return this;
  }

  fourBytes(value: number): this {
    this.#reserve(4);
    this.length = this.#bytes.writeUInt32BE(value, this.length);
    return this;
  }

  /** A variable byte integer. */
  variable(value: number): this {
    let rest = value;
    while (rest > 127) {
      this.byte((rest & 0x7f) | 0x80);
      rest = rest >>> 7;
    }
    return this.byte(rest);
  }

  /** @throws {RangeError} the text has more than 65,535 bytes */
  text(value: string): this {
    const length = Buffer.byteLength(value);
    this.twoBytes(length).#reserve(length);
    this.length += this.#bytes.write(value, this.length);
    return this;
  }

  /** @throws {RangeError} the bytes are more than 65,535 */
  binary(value: Uint8Array): this {
    return this.twoBytes(value.length).raw(value);
  }

  raw(value: Uint8Array): this {
    this.#reserve(value.length);
    this.#bytes.set(value, this.length);
    this.length += value.length;
    return this;
  }

  bytes(): Buffer {
    return this.#bytes.subarray(0, this.length);
  }

  #reserve(more: number): void {
    const needed = this.length + more;
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, 2 * this.#bytes.length));
    this.#bytes.copy(larger, 0, 0, this.length);
    this.#bytes = larger;
  }
}

/** The bytes of a variable byte integer. */
export function variableBytes(value: number): number {
  return value < 128 ? 1 : value < 16_384 ? 2 : value < 2_097_152 ? 3 : 4;
}

/** Shortens the text to a number of bytes, at the end of a character. */
export function shortened(text: string, maxBytes: number = MAX_TWO_BYTES): string {
  if (Buffer.byteLength(text) <= maxBytes) return text;
  return new TextDecoder().decode(Buffer.from(text).subarray(0, maxBytes), { stream: true });
}

import { isUtf8 } from "node:buffer";
import { malformed } from "./reason-codes.ts";

const MAX_VARIABLE_BYTES = 4;

/** Reads the data types of MQTT 5.0, section 1.5. Every method throws a `ProtocolError` at the end of the packet. */
export class ByteReader {
  readonly bytes: Buffer;
  at: number;
  readonly end: number;

  constructor(bytes: Buffer, at = 0, end = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  get isAtEnd(): boolean {
    return this.at === this.end;
  }

  byte(): number {
    return this.bytes.readUInt8(this.#take(1));
  }

  twoBytes(): number {
    return this.bytes.readUInt16BE(this.#take(2));
  }

  fourBytes(): number {
    return this.bytes.readUInt32BE(this.#take(4));
  }

  /** A variable byte integer in the fewest bytes [MQTT-1.5.5-1]. */
  variable(): number {
    let value = 0;
    for (let index = 0; index < MAX_VARIABLE_BYTES; index++) {
      const byte = this.byte();
      value += (byte & 0x7f) * 128 ** index;
      if ((byte & 0x80) !== 0) continue;
      if (byte === 0 && index > 0) break;
      return value;
    }
    throw malformed("a variable byte integer is malformed");
  }

  /** UTF-8 without U+0000 [MQTT-1.5.4-1] [MQTT-1.5.4-2]. U+FEFF stays [MQTT-1.5.4-3]. */
  text(): string {
    const length = this.twoBytes();
    const from = this.#take(length);
    const text = this.bytes.toString("utf8", from, this.at);
    // Only text that is all ASCII has as many characters as bytes, unless invalid bytes became U+FFFD.
    const isPlain = text.length === length && !text.includes("\uFFFD");
    if (!isPlain && !isUtf8(this.bytes.subarray(from, this.at))) throw malformed("text is not UTF-8");
    if (text.includes("\u0000")) throw malformed("text contains U+0000");
    return text;
  }

  binary(): Buffer {
    const from = this.#take(this.twoBytes());
    return this.bytes.subarray(from, this.at);
  }

  rest(): Buffer {
    return this.bytes.subarray(this.#take(this.end - this.at), this.end);
  }

  /** A reader of the next bytes, which this reader passes over. */
  part(length: number): ByteReader {
    const from = this.#take(length);
    return new ByteReader(this.bytes, from, this.at);
  }

  #take(length: number): number {
    const from = this.at;
    if (from + length > this.end) throw malformed("a packet is too short");
    this.at += length;
    return from;
  }
}

import { ByteReader } from "./byte-reader.ts";
import { malformed } from "./reason-codes.ts";

const NOTHING = Buffer.alloc(0);
const MAX_LENGTH_BYTES = 4;

interface FramedPacket {
  readonly type: number;
  /** The low four bits of the first byte. */
  readonly flags: number;
  /** At the first byte after the fixed header. */
  readonly body: ByteReader;
}

/** Splits the input into packets. The listener has limited their sizes. */
export class PacketFramer {
  /** The chunks of an incomplete packet after the first one: joined once, when the packet is complete. */
  #later: Buffer[] = [];
  #input: Buffer = NOTHING;
  #at = 0;
  /** Bytes from `#at` on, in all chunks. */
  #available = 0;
  /** Bytes that the next packet needs at least. */
  #needed = 2;

  add(chunk: Buffer): void {
    if (this.#at === this.#input.length && this.#later.length === 0) {
      this.#input = chunk;
      this.#at = 0;
    } else this.#later.push(chunk);
    this.#available += chunk.length;
  }

  /** @returns undefined when no whole packet is left @throws {ProtocolError} a length is malformed */
  next(): FramedPacket | undefined {
    while (this.#available >= this.#needed) {
      this.#join();
      const bodyAt = this.#bodyAt();
      if (bodyAt === undefined) {
        this.#needed = this.#available + 1;
        continue;
      }
      const end = bodyAt.at + bodyAt.length;
      if (end > this.#input.length) {
        this.#needed = end - this.#at;
        continue;
      }
      const first = this.#input[this.#at] ?? 0;
      const body = new ByteReader(this.#input, bodyAt.at, end);
      this.#available -= end - this.#at;
      this.#at = end;
      this.#needed = 2;
      return { type: first >> 4, flags: first & 0x0f, body };
    }
    return undefined;
  }

  #join(): void {
    if (this.#later.length === 0) return;
    this.#input = Buffer.concat([this.#input.subarray(this.#at), ...this.#later]);
    this.#later = [];
    this.#at = 0;
  }

  /** Undefined when the fixed header is incomplete. */
  #bodyAt(): { at: number; length: number } | undefined {
    let length = 0;
    for (let index = 1; index <= MAX_LENGTH_BYTES; index++) {
      const byte = this.#input[this.#at + index];
      if (byte === undefined) return undefined;
      length += (byte & 0x7f) * 128 ** (index - 1);
      if ((byte & 0x80) === 0) return { at: this.#at + index + 1, length };
    }
    throw malformed("a packet has a malformed length");
  }
}

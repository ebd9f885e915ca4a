import type { JournalMessage, Undelivered } from "../../journal.ts";

type Publication = NonNullable<JournalMessage["publish"]>;

/**
 * The row with the publications of one write. The format is binary because payloads are arbitrary bytes.
 *
 * ```
 * first position: float64, then for each publication
 * offset from first: uint32 | qos and retain: uint8 | bytes of topic: uint32 | of payload: uint32 | topic | payload
 * ```
 */
const HEAD_BYTES = 8;
const FRAME_BYTES = 13;
const RETAIN = 4;

export class PublicationsBuilder {
  readonly positions: number[] = [];
  readonly #topics: string[] = [];
  readonly #publications: Publication[] = [];
  #bytes = HEAD_BYTES;

  add(position: number, topic: string, publication: Publication): void {
    this.positions.push(position);
    this.#topics.push(topic);
    this.#publications.push(publication);
    // UTF-8 needs at most three bytes for a UTF-16 unit. Reserving them is cheaper than measuring the text.
    this.#bytes += FRAME_BYTES + topic.length * 3 + publication.payload.byteLength;
  }

  toBytes(): Uint8Array {
    const row = Buffer.allocUnsafe(this.#bytes);
    const first = this.positions[0] ?? 0;
    let at = row.writeDoubleBE(first, 0);
    for (let index = 0; index < this.positions.length; index++) {
      const publication = this.#publications[index];
      if (publication === undefined) continue;
      const { payload, qos, retain } = publication;
      const topicBytes = row.write(this.#topics[index] ?? "", at + FRAME_BYTES);
      row.writeUInt32BE((this.positions[index] ?? first) - first, at);
      row.writeUInt8(qos | (retain ? RETAIN : 0), at + 4);
      row.writeUInt32BE(topicBytes, at + 5);
      row.writeUInt32BE(payload.byteLength, at + 9);
      row.set(payload, at + FRAME_BYTES + topicBytes);
      at += FRAME_BYTES + topicBytes + payload.byteLength;
    }
    return row.subarray(0, at);
  }
}

export function readPublications(bytes: Uint8Array): Undelivered[] {
  const row = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const first = row.readDoubleBE(0);
  const publications: Undelivered[] = [];
  for (let at = HEAD_BYTES; at < row.length; ) {
    const flags = row.readUInt8(at + 4);
    const topicEnd = at + FRAME_BYTES + row.readUInt32BE(at + 5);
    const payloadEnd = topicEnd + row.readUInt32BE(at + 9);
    const qos = flags & 3;
    publications.push({
      position: first + row.readUInt32BE(at),
      topic: row.toString("utf8", at + FRAME_BYTES, topicEnd),
      payload: row.subarray(topicEnd, payloadEnd),
      qos: qos === 0 ? 0 : qos === 1 ? 1 : 2,
      retain: (flags & RETAIN) !== 0,
    });
    at = payloadEnd;
  }
  return publications;
}

import type { Publication, Undelivered } from "../../journal.ts";
import { maxFrameBytes, readFrame, writeFrame } from "../publication-frames.ts";

/**
 * The row with the publications of one write: the first position as float64, then for each publication the distance of
 * its position as uint32, and its frame.
 */
const FIRST_BYTES = 8;
const DISTANCE_BYTES = 4;

export class PublicationsBuilder {
  readonly positions: number[] = [];
  readonly #topics: string[] = [];
  readonly #publications: Publication[] = [];
  #bytes = FIRST_BYTES;

  add(position: number, topic: string, publication: Publication): void {
    this.positions.push(position);
    this.#topics.push(topic);
    this.#publications.push(publication);
    this.#bytes += DISTANCE_BYTES + maxFrameBytes(topic, publication);
  }

  toBytes(): Uint8Array {
    const row = Buffer.allocUnsafe(this.#bytes);
    const first = this.positions[0] ?? 0;
    let at = row.writeDoubleBE(first, 0);
    for (let index = 0; index < this.positions.length; index++) {
      const publication = this.#publications[index];
      if (publication === undefined) continue;
      at = row.writeUInt32BE((this.positions[index] ?? first) - first, at);
      at = writeFrame(row, at, this.#topics[index] ?? "", publication);
    }
    return row.subarray(0, at);
  }
}

export function readPublications(bytes: Uint8Array): Undelivered[] {
  const row = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const first = row.readDoubleBE(0);
  const publications: Undelivered[] = [];
  for (let at = FIRST_BYTES; at < row.length; ) {
    const position = first + row.readUInt32BE(at);
    const [{ topic, payload, qos, retain }, end] = readFrame(row, at + DISTANCE_BYTES);
    publications.push({ position, topic, payload, qos, retain });
    at = end;
  }
  return publications;
}

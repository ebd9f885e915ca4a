import type { LoggedPublication } from "../../../../platform/publication-log.ts";
import { loggedPublication, maxFrameBytes, readFrame, writeFrame } from "../../core/publication-frames.ts";
import type { Publication } from "../../journal.ts";

/**
 * The row with the publications of one write.
 *
 * ```
 * version: uint8 = 1 | last position of the previous row: float64 | first position: float64
 *   | when the row was written, milliseconds since 1970: float64 | for each publication: distance from the first position: uint32 | frame
 * ```
 *
 * The previous row's position shows a reader whether rows are missing. Rows of earlier versions begin with the first
 * position: the first byte of such a number is above 0x3e.
 */
const VERSION = 1;
const HEAD_BYTES = 1 + 8 + 8 + 8;
const DISTANCE_BYTES = 4;
const LEAST_FIRST_BYTE_OF_POSITION = 0x3f;

export interface PublicationsRow {
  /** The last position of the previous row. Undefined in rows of earlier versions. */
  previous: number | undefined;
  /** Milliseconds since 1970. Undefined in rows of earlier versions. */
  writtenAt: number | undefined;
  publications: LoggedPublication[];
}

/** The publications of one write, and their row. */
export class PublicationsBuilder {
  readonly publications: LoggedPublication[] = [];
  #bytes = HEAD_BYTES;

  add(position: number, topic: string, publication: Publication): void {
    this.#bytes += DISTANCE_BYTES + maxFrameBytes(topic, publication);
    this.publications.push(loggedPublication(position, topic, publication));
  }

  /** @param previous the last position of the previous row; 0 for the first row */
  toBytes(previous: number, writtenAt: number): Uint8Array {
    const row = Buffer.allocUnsafe(this.#bytes);
    const first = this.publications[0]?.position ?? 0;
    let at = row.writeUInt8(VERSION, 0);
    at = row.writeDoubleBE(previous, at);
    at = row.writeDoubleBE(first, at);
    at = row.writeDoubleBE(writtenAt, at);
    for (const publication of this.publications) {
      at = row.writeUInt32BE(publication.position - first, at);
      at = writeFrame(row, at, publication.topic, publication);
    }
    return row.subarray(0, at);
  }
}

/** @throws {RangeError} the row is damaged, or of a newer version */
export function readPublications(bytes: Uint8Array): PublicationsRow {
  const row = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = row.readUInt8(0);
  const isEarlier = version >= LEAST_FIRST_BYTE_OF_POSITION;
  if (!isEarlier && version !== VERSION)
    throw new RangeError(`a row of publications has the unknown version ${version}`);
  const firstAt = isEarlier ? 0 : 1 + 8;
  const first = row.readDoubleBE(firstAt);
  const publications: LoggedPublication[] = [];
  for (let at = isEarlier ? firstAt + 8 : HEAD_BYTES; at < row.length; ) {
    const position = first + row.readUInt32BE(at);
    const [frame, end] = readFrame(row, at + DISTANCE_BYTES);
    publications.push(loggedPublication(position, frame.topic, frame));
    at = end;
  }
  if (isEarlier) return { previous: undefined, writtenAt: undefined, publications };
  return { previous: row.readDoubleBE(1), writtenAt: row.readDoubleBE(1 + 8 + 8), publications };
}

/** A row with one publication, which is not part of the log: a retained message, or a command. */
export function publicationRow(position: number, topic: string, publication: Publication): Uint8Array {
  const builder = new PublicationsBuilder();
  builder.add(position, topic, publication);
  return builder.toBytes(0, 0);
}

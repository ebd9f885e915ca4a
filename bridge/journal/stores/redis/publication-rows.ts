import type { LoggedPublication, RetainedPublication } from "../../../../platform/publication-log.ts";
import { loggedPublication, maxFrameBytes, readFrame, writeFrame } from "../../core/publication-frames.ts";
import type { ReducedRow } from "../../core/reduced-rows.ts";
import type { JournalMessage } from "../../journal.ts";
import type { Waiting } from "./dedup-key.ts";

/**
 * The publications of one chunk, as one row of the stream `publications`. The row has the chunk's id. Its field `p`:
 *
 * ```
 * version: uint8 = 1 | for each publication: distance from the last position of the chunk: uint8 | frame
 * ```
 *
 * Its field `h` is the last position of the previous row, the bytes of all rows before this row, and when the row was
 * written, milliseconds since 1970. The first number shows a reader whether rows are missing.
 */
const VERSION = 1;
/**
 * A row of the sorted set `compacted`, which replaces others:
 *
 * ```
 * `{last position} {field h}`, a line feed | version: uint8 = 2
 *   | for each publication: distance from the last position: uint32 | frame
 * ```
 */
const COMPACTED_VERSION = 2;
const DISTANCE_BYTES = 4;
const NO_ROW = Buffer.alloc(0);

/** A retained message in a row: the topic, its index in the batch, and its frame's first and last byte, from 1. */
type RetainedSpan = [topic: string, index: number, first: number, last: number];

interface EncodedRow {
  /** Empty when the chunk has no publications. */
  bytes: Buffer;
  retained: RetainedSpan[];
}

/** A row as it was read. */
interface PublicationsRow {
  /** The last position of the previous row. */
  previous: number;
  /** The bytes of all rows before this row. */
  bytesBefore: number;
  /** Milliseconds since 1970. Undefined in rows of earlier versions. */
  writtenAt: number | undefined;
  /** The size of the row. */
  bytes: number;
  publications: LoggedPublication[];
}

export interface StoredRow {
  readonly last: number;
  /** Undefined when the row is unreadable. */
  readonly content: PublicationsRow | undefined;
  /** The id in the stream. Undefined: the row is in the sorted set. */
  readonly id?: Buffer;
}

/** Encodes the publications of the messages from the index `start` to below `end`, which become one chunk. */
export function encodeRow(messages: readonly Waiting[], start: number, end: number): EncodedRow {
  let size = 0;
  for (let index = start; index < end; index++) {
    const message = messages[index]?.message;
    if (message?.publish !== undefined) size += 1 + maxFrameBytes(message.topic, message.publish);
  }
  if (size === 0) return { bytes: NO_ROW, retained: [] };
  const bytes = Buffer.allocUnsafe(1 + size);
  const retained: RetainedSpan[] = [];
  let at = bytes.writeUInt8(VERSION, 0);
  for (let index = start; index < end; index++) {
    const message = messages[index]?.message;
    if (message?.publish === undefined) continue;
    const { topic, publish } = message;
    const first = bytes.writeUInt8(end - 1 - index, at);
    at = writeFrame(bytes, first, topic, publish);
    if (!publish.retain) continue;
    if (publish.payload.byteLength === 0) retained.push([topic, index, 0, 0]);
    else retained.push([topic, index, first + 1, at]);
  }
  return { bytes: bytes.subarray(0, at), retained };
}

/** Parses a row of the stream. @throws {RangeError} the row is damaged, or of a newer version */
export function readRow(last: number, fields: readonly Buffer[]): PublicationsRow {
  const [, header, , bytes] = fields;
  if (header === undefined || bytes === undefined) throw new RangeError("a row of publications is damaged");
  assertVersion(bytes.readUInt8(0));
  return { ...headerOf(last, header), bytes: bytes.length, publications: readFrames(last, bytes, 1, 1) };
}

function headerOf(last: number, header: Buffer): Pick<PublicationsRow, "previous" | "bytesBefore" | "writtenAt"> {
  const [previous = last, bytesBefore = 0, writtenAt] = header.toString("latin1").split(" ").map(Number);
  if (!(previous < last)) throw new RangeError("a row of publications is damaged");
  return { previous, bytesBefore, writtenAt };
}

function readFrames(last: number, bytes: Buffer, start: number, distanceBytes: 1 | 4): LoggedPublication[] {
  const publications: LoggedPublication[] = [];
  for (let at = start; at < bytes.length; ) {
    const position = last - bytes.readUIntBE(at, distanceBytes);
    const [frame, end] = readFrame(bytes, at + distanceBytes);
    publications.push(loggedPublication(position, frame.topic, frame));
    at = end;
  }
  return publications;
}

/** Encodes a row of the sorted set. @param bytesBefore as in the first row that it replaces */
export function encodeCompacted({ last, previous, writtenAt, publications }: ReducedRow, bytesBefore: number): Buffer {
  const header = [last, previous, bytesBefore, ...(writtenAt === undefined ? [] : [writtenAt])].join(" ");
  const size = publications.reduce((sum, { topic, ...one }) => sum + DISTANCE_BYTES + maxFrameBytes(topic, one), 0);
  const bytes = Buffer.allocUnsafe(header.length + 2 + size);
  let at = bytes.writeUInt8(COMPACTED_VERSION, bytes.write(`${header}\n`));
  for (const publication of publications) {
    at = bytes.writeUInt32BE(last - publication.position, at);
    at = writeFrame(bytes, at, publication.topic, publication);
  }
  return bytes.subarray(0, at);
}

/** Parses a row of the sorted set. @throws {RangeError} the row is damaged, or of a newer version */
export function readCompacted(last: number, value: Buffer): PublicationsRow {
  const end = value.indexOf(10);
  assertVersion(value.readUInt8(end + 1), COMPACTED_VERSION);
  const header = headerOf(last, value.subarray(value.indexOf(32) + 1, end));
  return { ...header, bytes: value.length, publications: readFrames(last, value, end + 2, DISTANCE_BYTES) };
}

/** The last position of a row of the sorted set. */
export function lastOfCompacted(value: Buffer): number {
  return Number(value.toString("latin1", 0, value.indexOf(32)));
}

/** Parses a value of the hash `retained`: `{position}`, a line feed, the version, and the frame. @throws {RangeError} */
export function readRetained(value: Buffer): RetainedPublication {
  const end = value.indexOf(10);
  const position = Number(value.toString("latin1", 0, end));
  assertVersion(value.readUInt8(end + 1));
  const [{ changesState, ...publication }] = readFrame(value, end + 2);
  return { position, ...publication, retain: true };
}

/** A value of the hash `open`: one publication that is not part of the log. */
export function encodeOpen(topic: string, open: NonNullable<JournalMessage["open"]>): Buffer {
  const bytes = Buffer.allocUnsafe(1 + maxFrameBytes(topic, open));
  return bytes.subarray(0, writeFrame(bytes, bytes.writeUInt8(VERSION, 0), topic, open));
}

/** @throws {RangeError} the value is damaged, or of a newer version */
export function readOpen(position: number, value: Buffer): LoggedPublication {
  assertVersion(value.readUInt8(0));
  const [{ changesState, ...publication }] = readFrame(value, 1);
  return { position, ...publication };
}

function assertVersion(version: number, known = VERSION): void {
  if (version !== known) throw new RangeError(`a stored publication has the unknown version ${version}`);
}

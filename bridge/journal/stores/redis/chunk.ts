import type { Entry, JournalMessage } from "../../journal.ts";

/** The largest number of entries of a chunk: the streams of channels have one character for each entry. */
export const MAX_CHUNK_ENTRIES = 64;
/** The largest size of the bodies in a chunk. A page reads whole chunks, so small chunks waste less reading. */
export const MAX_CHUNK_CHARS = 32 * 1024;
/** The largest size of the payloads for MQTT subscribers in a chunk. A chunk with one entry may be larger. */
export const MAX_CHUNK_PAYLOAD_BYTES = 256 * 1024;
/** Chunks of the log in one read. */
export const CHUNKS_PER_READ = 64;
/** The largest number of channels of an entry: it is stored as one character. */
export const MAX_ENTRY_CHANNELS = 120;

export interface Chunk {
  /** The position before the first entry. */
  base: number;
  size: number;
  /** The run of the node that wrote the chunk. */
  run: string;
  batch: number;
  /** The number of entries of the batch before this chunk. */
  offset: number;
  acceptedAt: number;
  /** The stamp of the previous chunk. It shows when Redis was rolled back to an earlier state and then appended to. */
  previous: string;
  /** The size of the row with the chunk's publications for MQTT subscribers. 0: no row. */
  publicationBytes: number;
  text: Buffer;
}

type Header = [topic: string, channels: readonly string[], camera: string | 0, state: 0 | 1 | 2, bodyLength: number];

/** The stamp of a chunk: a unique name. */
export function stampOf({ run, batch, offset }: Pick<Chunk, "run" | "batch" | "offset">): string {
  return `${run}/${batch}/${offset}`;
}

/** Encodes the entries of a chunk. The append script adds the header. */
export function encodeEntries(messages: readonly JournalMessage[]): string {
  const headers: Header[] = [];
  let bodies = "";
  for (const { topic, channels, camera, state, body } of messages) {
    headers.push([topic, channels, camera ?? 0, state === undefined ? 0 : state === "set" ? 1 : 2, body.length]);
    bodies += body;
  }
  return `${JSON.stringify(headers)}\n${bodies}`;
}

export function decodeEntries(text: string, base: number, acceptedAt: number): Entry[] {
  const end = text.indexOf("\n");
  const headers: Header[] = JSON.parse(text.slice(0, end));
  let at = end + 1;
  let position = base;
  return headers.map(([topic, channels, camera, state, bodyLength]) => {
    const body = text.slice(at, at + bodyLength);
    at += bodyLength;
    position++;
    return { position, topic, channels, camera: camera || undefined, body, state: STATES[state], acceptedAt };
  });
}

const STATES = [undefined, "set", "clear"] as const;

export function entriesOf({ text, base, acceptedAt }: Chunk): Entry[] {
  return decodeEntries(text.toString(), base, acceptedAt);
}

/** Parses a row of the log: its id, and the fields `h` and `d`. @throws {Error} the row is damaged */
export function readChunk(id: Buffer | undefined, fields: readonly Buffer[]): Chunk {
  const last = Number.parseInt(id?.toString("latin1") ?? "", 10);
  const [, header, , text] = fields;
  const [run = "", batch = "", offset = "", size = "", acceptedAt = "", previous = "", publicationBytes = "0"] =
    header?.toString("utf8").split(" ") ?? [];
  const count = Number(size);
  if (!(last > 0) || !(count > 0) || text === undefined) throw new Error("a row of the journal's log is damaged");
  const chunk = { base: last - count, size: count, run, previous, publicationBytes: Number(publicationBytes), text };
  return { ...chunk, batch: Number(batch), offset: Number(offset), acceptedAt: Number(acceptedAt) };
}

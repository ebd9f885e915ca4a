import type { Entry, JournalMessage } from "../../journal.ts";

/** The most entries of a chunk; their places in it are one character each in the rows of channels. */
export const MAX_CHUNK_ENTRIES = 64;
/** A page reads whole chunks: small ones waste less. */
export const MAX_CHUNK_CHARS = 32 * 1024;
/** How many channels hold an entry is one character too. */
export const MAX_ENTRY_CHANNELS = 120;

/** A chunk as it lies in the log. */
export interface Chunk {
  /** The position of its first entry, less one. */
  base: number;
  size: number;
  /** The run of the node that wrote it, the number of its batch, and how many entries of the batch are before it. */
  run: string;
  batch: number;
  offset: number;
  acceptedAt: number;
  /** The stamp of the chunk before it: a log that was put back in time does not fit what a node has read. */
  previous: string;
  text: Buffer;
}

type Header = [topic: string, channels: readonly string[], camera: string | 0, state: 0 | 1 | 2, bodyLength: number];

/** Names a chunk for good. */
export function stampOf({ run, batch, offset }: Pick<Chunk, "run" | "batch" | "offset">): string {
  return `${run}/${batch}/${offset}`;
}

/** What of a chunk is the sender's to say; the script adds the rest. */
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

/** Reads a row of the log: its id, and the fields `h` and `d`. */
export function readChunk(id: Buffer | undefined, fields: readonly Buffer[]): Chunk {
  const last = Number.parseInt(id?.toString("latin1") ?? "", 10);
  const [, header, , text] = fields;
  const [run = "", batch = "", offset = "", size = "", acceptedAt = "", previous = ""] =
    header?.toString("utf8").split(" ") ?? [];
  const count = Number(size);
  if (!(last > 0) || !(count > 0) || text === undefined) throw new Error("a row of the journal's log is damaged");
  return {
    base: last - count,
    size: count,
    run,
    batch: Number(batch),
    offset: Number(offset),
    acceptedAt: Number(acceptedAt),
    previous,
    text,
  };
}

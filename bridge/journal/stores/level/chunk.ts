import type { Entry } from "../../journal.ts";

/**
 * Entries that were written together lie together: a chunk is one row of up to 30 consecutive entries. It costs one
 * insertion, one deletion and one read where single rows would cost thirty; a write of one entry makes a chunk of one.
 *
 * Which of its entries belong to a channel is a set of bits, so 30 keeps them within a small integer. The other two
 * bounds keep a reader of one quiet channel from reading everybody's entries, and spans from growing with the square
 * of the channels.
 */
export const MAX_CHUNK_ENTRIES = 30;
export const MAX_CHUNK_CHANNELS = 8;
export const MAX_CHUNK_CHARS = 16 * 1024;

/** The channel of entries that no channel carries: kept and trimmed like any other, and read by nobody. */
export const NO_CHANNEL = "";

const STATES = [undefined, "set", "clear"] as const;

/** Columns rather than rows: half the text. The bodies follow behind a line feed, which JSON text never contains. */
type Header = [
  acceptedAt: number,
  /** Keys of the ids to forget with this chunk. */
  idKeys: string[],
  /** Distinct lists of channels … */
  lists: (readonly string[])[],
  /** … and which of them each entry has. */
  listOf: number[],
  topics: string[],
  cameras: (string | 0)[],
  states: number[],
  /** In UTF-16 units. */
  bodyLengths: number[],
];

/** What of a chunk belongs to which channel. The row of each of its channels holds the same text. */
export type Span = [
  acceptedAt: number,
  hasIds: 0 | 1,
  size: number,
  channels: string[],
  /** For each channel: its entries, bit 0 being the chunk's first. */
  bits: number[],
  /** For each channel: how many entries it had ever had before this chunk. */
  before: number[],
];

export class ChunkBuilder {
  readonly #lists: (readonly string[])[] = [];
  readonly #listOf: number[] = [];
  readonly #topics: string[] = [];
  readonly #cameras: (string | 0)[] = [];
  readonly #states: number[] = [];
  readonly #bodyLengths: number[] = [];
  readonly #idKeys: string[] = [];
  readonly #acceptedAt: number;
  #bodies = "";

  constructor(acceptedAt: number) {
    this.#acceptedAt = acceptedAt;
  }

  get size(): number {
    return this.#topics.length;
  }

  get chars(): number {
    return this.#bodies.length;
  }

  get hasIds(): 0 | 1 {
    return this.#idKeys.length > 0 ? 1 : 0;
  }

  add(entry: Entry, idKey: string | undefined): void {
    this.#listOf.push(this.#list(entry.channels));
    this.#topics.push(entry.topic);
    this.#cameras.push(entry.camera ?? 0);
    this.#states.push(entry.state === undefined ? 0 : entry.state === "set" ? 1 : 2);
    this.#bodyLengths.push(entry.body.length);
    this.#bodies += entry.body;
    if (idKey !== undefined) this.#idKeys.push(idKey);
  }

  toString(): string {
    const header: Header = [
      this.#acceptedAt,
      this.#idKeys,
      this.#lists,
      this.#listOf,
      this.#topics,
      this.#cameras,
      this.#states,
      this.#bodyLengths,
    ];
    return `${JSON.stringify(header)}\n${this.#bodies}`;
  }

  #list(channels: readonly string[]): number {
    for (let index = 0; index < this.#lists.length; index++) {
      const list = this.#lists[index];
      if (list === channels || (list !== undefined && sameTexts(list, channels))) return index;
    }
    return this.#lists.push(channels) - 1;
  }
}

function sameTexts(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false;
  return true;
}

/** A chunk that was read. */
export interface Chunk {
  readonly first: number;
  readonly header: Header;
  readonly text: string;
  /** Where the bodies begin in the text. */
  readonly bodiesAt: number;
}

/** Undefined for a row that is no chunk: it is damaged. @param last its newest position */
export function parseChunk(last: number, text: string): Chunk | undefined {
  const end = text.indexOf("\n");
  try {
    const header: Header = JSON.parse(text.slice(0, end));
    return { first: last - header[4].length + 1, header, text, bodiesAt: end + 1 };
  } catch {
    return undefined;
  }
}

export function idKeysOfChunk(last: number, text: string): readonly string[] {
  return parseChunk(last, text)?.header[1] ?? [];
}

/**
 * Hands out the entries of a chunk that `floorOf` lets through: for a list of channels it gives the position above
 * which its entries are wanted.
 * @param take returns false when it wants no more
 * @returns false when `take` did
 */
export function readChunk(
  { first, header, text, bodiesAt }: Chunk,
  floorOf: (channels: readonly string[]) => number,
  take: (entry: Entry) => boolean,
): boolean {
  const [acceptedAt, , lists, listOf, topics, cameras, states, bodyLengths] = header;
  const floors = lists.map(floorOf);
  let from = bodiesAt;
  for (let index = 0; index < topics.length; index++) {
    const to = from + (bodyLengths[index] ?? 0);
    const list = listOf[index] ?? 0;
    const position = first + index;
    if (position > (floors[list] ?? Number.POSITIVE_INFINITY)) {
      const entry: Entry = {
        position,
        topic: topics[index] ?? "",
        channels: lists[list] ?? [],
        camera: cameras[index] || undefined,
        body: text.slice(from, to),
        state: STATES[states[index] ?? 0],
        acceptedAt,
      };
      if (!take(entry)) return false;
    }
    from = to;
  }
  return true;
}

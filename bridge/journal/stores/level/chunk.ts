import type { Entry } from "../../journal.ts";

/**
 * A chunk is one row with up to 30 consecutive entries of one write. It costs one insertion, one deletion and one read,
 * where single rows would cost 30 of each.
 *
 * A bit mask says which entries of a chunk belong to a channel: with 30 entries, the mask is a small integer. The limit
 * on characters keeps a reader of a quiet channel from reading many entries of other channels. Each channel of a chunk
 * has a row that lists all channels of the chunk, so the limit on channels keeps these rows small.
 */
export const MAX_CHUNK_ENTRIES = 30;
export const MAX_CHUNK_CHANNELS = 8;
export const MAX_CHUNK_CHARS = 16 * 1024;

const STATES = [undefined, "set", "clear"] as const;

/** The header stores columns and not rows, which halves its length. A line feed separates it from the bodies. */
type Header = [
  acceptedAt: number,
  /** Keys of the id rows that are deleted together with this chunk. */
  idKeys: string[],
  lists: (readonly string[])[],
  /** For each entry: the index of its channels in `lists`. */
  listOf: number[],
  topics: string[],
  cameras: (string | 0)[],
  states: number[],
  /** In UTF-16 units. */
  bodyLengths: number[],
];

/** Says which entries of a chunk belong to which channel. Each channel of the chunk has a row with this same value. */
export type Span = [
  acceptedAt: number,
  hasIds: 0 | 1,
  size: number,
  channels: string[],
  /** For each channel: the mask of its entries. Bit 0 is the first entry of the chunk. */
  masks: number[],
  /** For each channel: the number of its entries before this chunk, removed ones included. */
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

interface Chunk {
  readonly first: number;
  readonly header: Header;
  readonly text: string;
  readonly bodiesAt: number;
}

/** @param last the position of the chunk's newest entry @returns undefined when the row is damaged */
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
 * Passes the requested entries of a chunk to `take`, until `take` returns false.
 * @param floorOf returns the position above which entries with these channels are requested
 * @returns false when `take` stopped
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

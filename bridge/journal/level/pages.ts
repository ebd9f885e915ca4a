import type { Entry, ReplayPage } from "../journal.ts";
import { countBits } from "./bits.ts";
import type { ChannelLog } from "./channel-logs.ts";
import { readChunk, type Span } from "./chunk.ts";
import { chunkKey, positionOfKey, rowsOf, spanKey, spansEnd } from "./keys.ts";
import type { Tail } from "./tail.ts";
import type { Database } from "./write-set.ts";

/** What a reader wants. */
export interface PageRequest {
  logs: readonly ChannelLog[];
  after: number;
  until: number;
  maxEvents: number;
  maxBytes: number;
}

/** Spans of one channel that are read at once. */
const SPANS_PER_READ = 128;
/** Chunks that are read at once when they lie apart. */
const CHUNKS_PER_READ = 40;

/** Collects the entries of a page. */
class Page {
  readonly #request: PageRequest;
  readonly #entries: Entry[] = [];
  #chars = 0;
  #isFull = false;

  constructor(request: PageRequest) {
    this.#request = request;
  }

  /** The position above which entries of a list of channels are wanted. */
  readonly floorOf = (channels: readonly string[]): number => {
    let floor = Number.POSITIVE_INFINITY;
    for (const log of this.#request.logs) if (log.floor < floor && channels.includes(log.name)) floor = log.floor;
    return Math.max(floor, this.#request.after);
  };

  /** Adds an entry; false when the page ends before it. */
  readonly take = (entry: Entry): boolean => {
    if (entry.position > this.#request.until) return false;
    const chars = this.#chars + entry.body.length;
    this.#isFull =
      this.#entries.length >= this.#request.maxEvents || (chars > this.#request.maxBytes && this.#entries.length > 0);
    if (this.#isFull) return false;
    this.#chars = chars;
    this.#entries.push(entry);
    return true;
  };

  readonly takeIfWanted = (entry: Entry): boolean =>
    entry.position > this.floorOf(entry.channels) ? this.take(entry) : true;

  /** The page, when nothing is left to add up to its end. */
  finish(): ReplayPage {
    const { until, after } = this.#request;
    const next = this.#isFull ? (this.#entries.at(-1)?.position ?? after) : until;
    return { entries: this.#entries, next, done: next === until };
  }
}

/** Reads the newest entries from memory. */
export function tailPage(tail: Tail, request: PageRequest): ReplayPage {
  const page = new Page(request);
  tail.read(request.after, request.until, page.takeIfWanted);
  return page.finish();
}

/** Reads the chunks one after the other: for a channel that carries nearly everything. */
export async function scanPage(db: Database, request: PageRequest): Promise<ReplayPage> {
  const page = new Page(request);
  const highWaterMarkBytes = Math.min(request.maxBytes, request.maxEvents * 512);
  const iterator = db.iterator({ gte: chunkKey(request.after + 1), lt: rowsOf("m").lt, highWaterMarkBytes });
  try {
    for (;;) {
      const rows = await iterator.nextv(Math.min(request.maxEvents, 1_000));
      if (rows.length === 0) return page.finish();
      for (const [key, chunk] of rows) {
        const last = positionOfKey(key);
        if (!readChunk(last, chunk, page.floorOf, page.take) || last >= request.until) return page.finish();
      }
    }
  } finally {
    await iterator.close();
  }
}

/** Reads the chunks that the spans of the channels name, and no others. */
export async function gatherPage(db: Database, request: PageRequest): Promise<ReplayPage> {
  const page = new Page(request);
  // Between the two reads retention may remove what the first one named.
  const snapshot = db.snapshot();
  try {
    for (let after = request.after; ; ) {
      const from = after;
      const found = await Promise.all(request.logs.map((log) => chunksOf(db, snapshot, log, from, request)));
      after = Math.min(...found.map(({ readTo }) => readTo));
      const reached = after;
      const lasts = [...new Set(found.flatMap((one) => one.lasts))].filter((last) => last <= reached);
      lasts.sort((a, b) => a - b);
      for (let at = 0; at < lasts.length; at += CHUNKS_PER_READ) {
        const some = lasts.slice(at, at + CHUNKS_PER_READ);
        const chunks = await db.getMany(some.map(chunkKey), { snapshot });
        for (const [index, last] of some.entries()) {
          const chunk = chunks[index];
          if (chunk !== undefined && !readChunk(last, chunk, page.floorOf, page.take)) return page.finish();
        }
      }
      if (after === Number.POSITIVE_INFINITY) return page.finish();
    }
  } finally {
    await snapshot.close();
  }
}

/**
 * The next chunks of a channel, enough of them to fill a page, and how far that is; Infinity when there are no more.
 */
async function chunksOf(
  db: Database,
  snapshot: ReturnType<Database["snapshot"]>,
  log: ChannelLog,
  after: number,
  { until, maxEvents }: PageRequest,
): Promise<{ lasts: number[]; readTo: number }> {
  const range = { gte: spanKey(log.name, Math.max(after, log.floor) + 1), lt: spansEnd(log.name), snapshot };
  const iterator = db.iterator({ ...range, highWaterMarkBytes: 64 * 1024 });
  const size = Math.min(SPANS_PER_READ, maxEvents + 1);
  const rows = await iterator.nextv(size).finally(() => iterator.close());
  const lasts: number[] = [];
  let events = 0;
  for (const [key, value] of rows) {
    const last = positionOfKey(key);
    lasts.push(last);
    if (last >= until) return { lasts, readTo: Number.POSITIVE_INFINITY };
    const span: Span = JSON.parse(value);
    events += countBits(span[4][span[3].indexOf(log.name)] ?? 0);
    // One more than the page takes, as the first of these chunks may have been read in part.
    if (events > maxEvents) break;
  }
  return { lasts, readTo: lasts.at(-1) ?? Number.POSITIVE_INFINITY };
}

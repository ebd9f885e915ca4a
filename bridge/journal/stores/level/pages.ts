import { isDamage } from "../../../../platform/level/errors.ts";
import type { Database } from "../../../../platform/level/write-set.ts";
import type { Entry, ReplayPage } from "../../journal.ts";
import { countBits } from "./bit-mask.ts";
import type { ChannelLog } from "./channel-logs.ts";
import { parseChunk, readChunk } from "./chunk.ts";
import { countUpTo, isMissing, readSpan, type SpanOf } from "./continuity.ts";
import { chunkKey, positionOfKey, rowsOf, spanKey, spansEnd } from "./keys.ts";
import type { KnownGaps } from "./known-gaps.ts";
import type { RecentEntries } from "./recent-entries.ts";

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

  /** The page, when nothing is left to add up to its end. @param end default: `until` */
  finish(end = this.#request.until): ReplayPage {
    const { after, until } = this.#request;
    const next = this.#isFull ? (this.#entries.at(-1)?.position ?? after) : end;
    return { entries: this.#entries, next, done: next === until };
  }
}

/** Reads the newest entries from memory. */
export function recentPage(recentEntries: RecentEntries, request: PageRequest): ReplayPage {
  const page = new Page(request);
  recentEntries.read(request.after, request.until, page.takeIfWanted);
  return page.finish();
}

/**
 * Reads the chunks one after the other: for a channel that carries nearly everything. Neighbours must meet; where they do
 * not, and entries are missing, the page ends before the hole, or goes on behind one that it begins with.
 */
export async function scanPage(db: Database, request: PageRequest, knownGaps: KnownGaps): Promise<ReplayPage> {
  const page = new Page(request);
  const highWaterMarkBytes = Math.min(request.maxBytes, request.maxEvents * 512);
  const iterator = db.iterator({ gte: chunkKey(request.after + 1), lt: rowsOf("m").lt, highWaterMarkBytes });
  let readTo = request.after;
  /** Whether the page may go on at the position that follows those which were read. */
  const meets = async (position: number) => {
    if (position <= readTo + 1) return true;
    let missing = false;
    for (const log of request.logs) {
      if (!(await isMissing(db, log, { after: readTo, before: position }))) continue;
      knownGaps.note(log.name, { after: Math.max(readTo, log.floor), before: position });
      missing = true;
    }
    return !missing || readTo === request.after;
  };
  try {
    for (;;) {
      const rows = await iterator.nextv(Math.min(request.maxEvents, 1_000));
      if (rows.length === 0) return (await meets(request.until + 1)) ? page.finish() : page.finish(readTo);
      for (const [key, text] of rows) {
        const last = positionOfKey(key);
        const chunk = parseChunk(last, text);
        if (chunk === undefined) continue;
        if (chunk.first > readTo + 1 && !(await meets(Math.min(chunk.first, request.until + 1))))
          return page.finish(readTo);
        if (!readChunk(chunk, page.floorOf, page.take) || last >= request.until) return page.finish();
        readTo = last;
      }
    }
  } finally {
    await iterator.close();
  }
}

/** Reads the chunks that the spans of the channels name, and no others. KnownGaps are met as in {@link scanPage}. */
export async function gatherPage(db: Database, request: PageRequest, knownGaps: KnownGaps): Promise<ReplayPage> {
  const page = new Page(request);
  // Before the snapshot, which may have more entries than these, but no fewer.
  const totals = new Map(request.logs.map((log) => [log.name, log.total]));
  // Between the two reads retention may remove what the first one named.
  const snapshot = db.snapshot();
  const place: Place = { db, snapshot, request, totals, knownGaps };
  try {
    for (let after = request.after; ; ) {
      const from = after;
      const found = await Promise.all(request.logs.map((log) => chunksOf(place, log, from)));
      after = Math.min(...found.map(({ readTo }) => readTo));
      const reached = after;
      const named = new Map<number, SpanOf>();
      for (const { spans } of found) for (const span of spans) if (span.last <= reached) named.set(span.last, span);
      const spans = [...named.values()].sort((one, other) => one.last - other.last);
      for (let at = 0; at < spans.length; at += CHUNKS_PER_READ) {
        const some = spans.slice(at, at + CHUNKS_PER_READ);
        const texts = await readRows(
          place,
          some.map(({ last }) => chunkKey(last)),
        );
        const chunks = texts.map((text, index) =>
          text === undefined ? undefined : parseChunk(some[index]?.last ?? 0, text),
        );
        for (let index = 0; index < some.length; index++) {
          const chunk = chunks[index];
          if (chunk !== undefined) {
            if (!readChunk(chunk, page.floorOf, page.take)) return page.finish();
            continue;
          }
          const { first = 0 } = some[index] ?? {};
          // A damaged block takes neighbours with it: they are one hole.
          while (index + 1 < some.length && chunks[index + 1] === undefined) index++;
          const { last = 0 } = some[index] ?? {};
          for (const { name, spans: own } of found)
            if (own.some((span) => span.last >= first && span.last <= last))
              knownGaps.note(name, { after: first - 1, before: last + 1 });
          if (first - 1 > request.after) return page.finish(Math.min(first - 1, request.until));
        }
      }
      if (after === Number.POSITIVE_INFINITY) return page.finish();
      if (found.some(({ hole }) => hole === reached)) return page.finish(reached);
    }
  } finally {
    await snapshot.close();
  }
}

interface Place {
  db: Database;
  snapshot: ReturnType<Database["snapshot"]>;
  request: PageRequest;
  /** Entries that each channel ever had. */
  totals: ReadonlyMap<string, number>;
  knownGaps: KnownGaps;
}

interface FoundChunks {
  name: string;
  spans: SpanOf[];
  /** Infinity when there are no more. */
  readTo: number;
  /** Entries are missing behind this position, which is above where the page begins: it ends there. */
  hole: number | undefined;
}

/** The next chunks of a channel, enough of them to fill a page, and how far that is. */
async function chunksOf(place: Place, log: ChannelLog, after: number): Promise<FoundChunks> {
  const { db, snapshot, request, totals, knownGaps } = place;
  const { name, floor, dropped } = log;
  const { until, maxEvents } = request;
  let readTo = Math.max(after, floor);
  const range = { gte: spanKey(name, readTo + 1), lt: spansEnd(name), snapshot };
  const iterator = db.iterator({ ...range, highWaterMarkBytes: 64 * 1024 });
  const size = Math.min(SPANS_PER_READ, maxEvents + 1);
  const rows = await iterator.nextv(size).finally(() => iterator.close());
  const spans: SpanOf[] = [];
  let counted: number | undefined;
  /** Whether the page may go on with what the channel had after so many entries. */
  const meets = async (position: number, count: number) => {
    counted ??= await countUpTo(db, { name, floor, dropped }, readTo, snapshot);
    if (counted >= count) return true;
    knownGaps.note(name, { after: readTo, before: position });
    return (spans.at(-1)?.last ?? after) === request.after;
  };
  let events = 0;
  for (const [key, value] of rows) {
    const span = readSpan(name, key, value);
    // A chunk that begins where reading began follows whatever it was that was read.
    const isNext = spans.length === 0 && span.first <= readTo + 1;
    if (!isNext && !(await meets(Math.min(span.first, until + 1), span.before)))
      return { name, spans, readTo: spans.at(-1)?.last ?? after, hole: spans.at(-1)?.last ?? after };
    spans.push(span);
    counted = span.until;
    readTo = span.last;
    if (span.last >= until) return { name, spans, readTo: Number.POSITIVE_INFINITY, hole: undefined };
    events += countBits(span.bits);
    // One more than the page takes, as the first of these chunks may have been read in part.
    if (events > maxEvents) return { name, spans, readTo, hole: undefined };
  }
  if (rows.length > 0) return { name, spans, readTo, hole: undefined };
  return (await meets(until + 1, totals.get(name) ?? 0))
    ? { name, spans, readTo: Number.POSITIVE_INFINITY, hole: undefined }
    : { name, spans, readTo: after, hole: after };
}

/** One unreadable row must not keep the others from being read. */
async function readRows({ db, snapshot }: Place, keys: string[]): Promise<(string | undefined)[]> {
  try {
    return await db.getMany(keys, { snapshot });
  } catch (error) {
    if (!isDamage(error)) throw error;
    return await Promise.all(
      keys.map((key) =>
        db.get(key, { snapshot }).catch((reason: unknown) => {
          if (!isDamage(reason)) throw reason;
          return undefined;
        }),
      ),
    );
  }
}

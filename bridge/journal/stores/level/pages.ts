import { isDamage } from "../../../../platform/level/errors.ts";
import type { Database } from "../../../../platform/level/write-set.ts";
import type { Entry, ReplayPage } from "../../journal.ts";
import type { RecentEntries } from "../../recent-entries.ts";
import type { WholePage } from "../../whole-page.ts";
import { countBits } from "./bit-mask.ts";
import type { ChannelLog } from "./channel-logs.ts";
import { parseChunk, readChunk } from "./chunk.ts";
import { countUpTo, isMissing, readSpan, type SpanOf } from "./continuity.ts";
import { chunkKey, positionOfKey, rowsOf, spanKey, spansEnd } from "./keys.ts";
import type { KnownGaps } from "./known-gaps.ts";

/** A request for a page, with defaults and limits applied. */
export interface PageRequest {
  logs: readonly ChannelLog[];
  after: number;
  until: number;
  maxEvents: number;
  maxBytes: number;
}

/** Spans of one channel per read. */
const SPANS_PER_READ = 128;
/** Chunks per read, when they are not consecutive. */
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

  /** For a list of channels: only entries above this position belong to the page. */
  readonly floorOf = (channels: readonly string[]): number => {
    let floor = Number.POSITIVE_INFINITY;
    for (const log of this.#request.logs) if (log.floor < floor && channels.includes(log.name)) floor = log.floor;
    return Math.max(floor, this.#request.after);
  };

  /** Adds an entry. @returns false when the page ends before the entry */
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

  /** Adds an entry if it belongs to a requested channel. @returns false when the page ends before the entry */
  readonly takeIfRequested = (entry: Entry): boolean =>
    entry.position > this.floorOf(entry.channels) ? this.take(entry) : true;

  /** Returns the page, once all entries up to `end` were added. @param end default: `until` */
  finish(end = this.#request.until): ReplayPage {
    const { after, until } = this.#request;
    const next = this.#isFull ? (this.#entries.at(-1)?.position ?? after) : end;
    return { entries: this.#entries, next, done: next === until };
  }
}

/** Reads a page from the recent entries in memory. */
export function recentPage(recentEntries: RecentEntries, request: PageRequest): ReplayPage {
  const page = new Page(request);
  recentEntries.read(request.after, request.until, page.takeIfRequested);
  return page.finish();
}

/**
 * Reads all chunks one after the other. This is the fast way for a channel that carries nearly all entries. If entries
 * are missing between two chunks, the page ends before the gap. If the page begins with the gap, the page continues
 * after the gap.
 */
export async function scanPage(db: Database, request: PageRequest, knownGaps: KnownGaps): Promise<ReplayPage> {
  const page = new Page(request);
  const highWaterMarkBytes = Math.min(request.maxBytes, request.maxEvents * 512);
  const iterator = db.iterator({ gte: chunkKey(request.after + 1), lt: rowsOf("m").lt, highWaterMarkBytes });
  let readTo = request.after;
  /** Adds the gaps before `position`, the next position that was found. @returns whether the page may continue there */
  const mayContinueAt = async (position: number) => {
    if (position <= readTo + 1) return true;
    let missing = false;
    for (const log of request.logs) {
      if (!(await isMissing(db, log, { after: readTo, before: position }))) continue;
      knownGaps.add(log.name, { after: Math.max(readTo, log.floor), before: position });
      missing = true;
    }
    return !missing || readTo === request.after;
  };
  try {
    for (;;) {
      const rows = await iterator.nextv(Math.min(request.maxEvents, 1_000));
      if (rows.length === 0) return (await mayContinueAt(request.until + 1)) ? page.finish() : page.finish(readTo);
      for (const [key, text] of rows) {
        const last = positionOfKey(key);
        const chunk = parseChunk(last, text);
        if (chunk === undefined) continue;
        if (chunk.first > readTo + 1 && !(await mayContinueAt(Math.min(chunk.first, request.until + 1))))
          return page.finish(readTo);
        if (!readChunk(chunk, page.floorOf, page.take) || last >= request.until) return page.finish();
        readTo = last;
      }
    }
  } finally {
    await iterator.close();
  }
}

/** Reads chunks one after the other until the page ends. */
export async function readWhole(db: Database, page: WholePage): Promise<void> {
  const { after, maxEvents, maxBytes } = page;
  const highWaterMarkBytes = Math.min(maxBytes, maxEvents * 512);
  const iterator = db.iterator({ gte: chunkKey(after + 1), lt: rowsOf("m").lt, highWaterMarkBytes });
  const floorOf = () => after;
  try {
    for (;;) {
      const rows = await iterator.nextv(Math.min(maxEvents, 1_000));
      for (const [key, text] of rows) {
        const last = positionOfKey(key);
        const chunk = parseChunk(last, text);
        if (chunk !== undefined && !readChunk(chunk, floorOf, page.take)) return;
      }
      if (rows.length === 0) return;
    }
  } finally {
    await iterator.close();
  }
}

/** Reads only the chunks that the spans of the channels name. Handles gaps like {@link scanPage}. */
export async function gatherPage(db: Database, request: PageRequest, knownGaps: KnownGaps): Promise<ReplayPage> {
  const page = new Page(request);
  // Read before the snapshot: the snapshot then has at least these entries.
  const totals = new Map(request.logs.map((log) => [log.name, log.total]));
  // Without a snapshot, retention could delete a chunk after its span was read.
  const snapshot = db.snapshot();
  const source: Source = { db, snapshot, request, totals, knownGaps };
  try {
    for (let after = request.after; ; ) {
      const from = after;
      const found = await Promise.all(request.logs.map((log) => chunksOf(source, log, from)));
      after = Math.min(...found.map(({ readTo }) => readTo));
      const reached = after;
      const named = new Map<number, SpanOf>();
      for (const { spans } of found) for (const span of spans) if (span.last <= reached) named.set(span.last, span);
      const spans = [...named.values()].sort((one, other) => one.last - other.last);
      for (let at = 0; at < spans.length; at += CHUNKS_PER_READ) {
        const some = spans.slice(at, at + CHUNKS_PER_READ);
        const texts = await readRows(
          source,
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
          // A damaged block of LevelDB contains several neighbouring chunks: they are one gap.
          while (index + 1 < some.length && chunks[index + 1] === undefined) index++;
          const { last = 0 } = some[index] ?? {};
          for (const { name, spans: own } of found)
            if (own.some((span) => span.last >= first && span.last <= last))
              knownGaps.add(name, { after: first - 1, before: last + 1 });
          if (first - 1 > request.after) return page.finish(Math.min(first - 1, request.until));
        }
      }
      if (after === Number.POSITIVE_INFINITY) return page.finish();
      if (found.some(({ gapAfter }) => gapAfter === reached)) return page.finish(reached);
    }
  } finally {
    await snapshot.close();
  }
}

interface Source {
  db: Database;
  snapshot: ReturnType<Database["snapshot"]>;
  request: PageRequest;
  /** The number of entries that were ever appended to each channel. */
  totals: ReadonlyMap<string, number>;
  knownGaps: KnownGaps;
}

interface FoundChunks {
  name: string;
  spans: SpanOf[];
  /** All spans of the channel up to this position were read. Infinity when there are no more spans. */
  readTo: number;
  /** The page must end at this position, because entries after it are missing. */
  gapAfter: number | undefined;
}

/** Reads the next spans of a channel, enough to fill a page. */
async function chunksOf(source: Source, log: ChannelLog, after: number): Promise<FoundChunks> {
  const { db, snapshot, request, totals, knownGaps } = source;
  const { name, floor, dropped } = log;
  const { until, maxEvents } = request;
  let readTo = Math.max(after, floor);
  const range = { gte: spanKey(name, readTo + 1), lt: spansEnd(name), snapshot };
  const iterator = db.iterator({ ...range, highWaterMarkBytes: 64 * 1024 });
  const size = Math.min(SPANS_PER_READ, maxEvents + 1);
  const rows = await iterator.nextv(size).finally(() => iterator.close());
  const spans: SpanOf[] = [];
  let counted: number | undefined;
  /**
   * Adds the gap before `position`, if any.
   * @param count the number of entries that were ever appended to the channel before `position`
   * @returns whether the page may continue there
   */
  const mayContinueAt = async (position: number, count: number) => {
    counted ??= await countUpTo(db, { name, floor, dropped }, readTo, snapshot);
    if (counted >= count) return true;
    knownGaps.add(name, { after: readTo, before: position });
    return (spans.at(-1)?.last ?? after) === request.after;
  };
  let events = 0;
  for (const [key, value] of rows) {
    const span = readSpan(name, key, value);
    // A chunk that begins directly after the cursor leaves no gap.
    const isNext = spans.length === 0 && span.first <= readTo + 1;
    if (!isNext && !(await mayContinueAt(Math.min(span.first, until + 1), span.before)))
      return { name, spans, readTo: spans.at(-1)?.last ?? after, gapAfter: spans.at(-1)?.last ?? after };
    spans.push(span);
    counted = span.until;
    readTo = span.last;
    if (span.last >= until) return { name, spans, readTo: Number.POSITIVE_INFINITY, gapAfter: undefined };
    events += countBits(span.mask);
    // One entry more than the page holds: part of the first chunk may be below the cursor.
    if (events > maxEvents) return { name, spans, readTo, gapAfter: undefined };
  }
  if (rows.length > 0) return { name, spans, readTo, gapAfter: undefined };
  return (await mayContinueAt(until + 1, totals.get(name) ?? 0))
    ? { name, spans, readTo: Number.POSITIVE_INFINITY, gapAfter: undefined }
    : { name, spans, readTo: after, gapAfter: after };
}

/** Reads rows. A damaged row is undefined and does not affect the others. */
async function readRows({ db, snapshot }: Source, keys: string[]): Promise<(string | undefined)[]> {
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

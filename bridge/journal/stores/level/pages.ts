import { DASHBOARD } from "../../../../contract/channels.ts";
import { isDamage } from "../../../../platform/level/errors.ts";
import type { Store } from "../../../../platform/level/store.ts";
import type { Database } from "../../../../platform/level/write-set.ts";
import type { KnownGaps } from "../../core/known-gaps.ts";
import { Page, type PageRequest } from "../../core/page.ts";
import type { PageStore } from "../../core/page-reader.ts";
import type { WholePage } from "../../core/whole-page.ts";
import type { ReplayPage } from "../../journal.ts";
import { countBits } from "./bit-mask.ts";
import type { ChannelLog, ChannelLogs } from "./channel-logs.ts";
import { parseChunk, readChunk } from "./chunk.ts";
import { countUpTo, isMissing, readSpan, type SpanOf } from "./continuity.ts";
import { chunkKey, positionOfKey, rowsOf, spanKey, spansEnd } from "./keys.ts";

interface LogRequest extends PageRequest {
  logs: readonly ChannelLog[];
}

const SPANS_PER_READ = 128;
/** Chunks per read, when they are not consecutive. */
const CHUNKS_PER_READ = 40;

export class LevelPages implements PageStore {
  readonly #channels: ChannelLogs;
  readonly #store: Pick<Store, "read">;
  readonly #knownGaps: KnownGaps;

  constructor(channels: ChannelLogs, store: Pick<Store, "read">, knownGaps: KnownGaps) {
    this.#channels = channels;
    this.#store = store;
    this.#knownGaps = knownGaps;
  }

  async readChannels(request: PageRequest): Promise<ReplayPage> {
    const logs = request.logs.map(({ name }) => this.#channels.get(name)).filter((log) => log !== undefined);
    const dashboard = logs.find(({ name }) => name === DASHBOARD);
    // A scan of all entries is fast where the dashboard channel keeps nearly all of them. Below its floor, few remain.
    const scan = dashboard !== undefined && (logs.length === 1 || request.after >= dashboard.floor);
    const readPage = scan ? scanPage : gatherPage;
    return await this.#store.read((db) => readPage(db, { ...request, logs }, this.#knownGaps));
  }

  async readWhole(page: WholePage): Promise<number> {
    await this.#store.read((db) => readWhole(db, page));
    return this.#channels.highestFloor();
  }
}

/**
 * Reads all chunks one after the other: the fast way for a channel that carries nearly all entries. If entries are
 * missing between two chunks, the page ends before the gap. A page that begins with the gap continues after it.
 */
async function scanPage(db: Database, request: LogRequest, knownGaps: KnownGaps): Promise<ReplayPage> {
  const page = new Page(request);
  const highWaterMarkBytes = Math.min(request.maxBytes, request.maxEvents * 512);
  const iterator = db.iterator({ gte: chunkKey(request.after + 1), lt: rowsOf("m").lt, highWaterMarkBytes });
  let readTo = request.after;
  /** Adds the gaps before `position`, where the next entry was found. @returns whether the page may continue there */
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
async function readWhole(db: Database, page: WholePage): Promise<void> {
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

/** Reads only the chunks that have entries of the channels. Handles gaps like {@link scanPage}. */
async function gatherPage(db: Database, request: LogRequest, knownGaps: KnownGaps): Promise<ReplayPage> {
  const page = new Page(request);
  // The totals are read before the snapshot, so the snapshot has at least this number of entries.
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
        const chunks = await readChunks(source, some);
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
  request: LogRequest;
  /** The number of entries that were ever appended to each channel. */
  totals: ReadonlyMap<string, number>;
  knownGaps: KnownGaps;
}

interface FoundChunks {
  name: string;
  spans: SpanOf[];
  /** All spans of the channel up to this position were read. Infinity when no spans remain. */
  readTo: number;
  /** The page must end at this position, because the next entries are missing. */
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
  const endOfSpans = () => spans.at(-1)?.last ?? after;
  let counted: number | undefined;
  /** Adds the gap before `position` if fewer than `count` entries were found. @returns whether the page may continue */
  const mayContinueAt = async (position: number, count: number) => {
    counted ??= await countUpTo(db, { name, floor, dropped }, readTo, snapshot);
    if (counted >= count) return true;
    knownGaps.add(name, { after: readTo, before: position });
    return endOfSpans() === request.after;
  };
  let events = 0;
  for (const [key, value] of rows) {
    const span = readSpan(name, key, value);
    // A chunk that begins directly after the cursor leaves no gap.
    const isNext = spans.length === 0 && span.first <= readTo + 1;
    if (!isNext && !(await mayContinueAt(Math.min(span.first, until + 1), span.before)))
      return { name, spans, readTo: endOfSpans(), gapAfter: endOfSpans() };
    spans.push(span);
    counted = span.until;
    readTo = span.last;
    if (span.last >= until) return { name, spans, readTo: Number.POSITIVE_INFINITY, gapAfter: undefined };
    events += countBits(span.mask);
    // The cursor may be within the first chunk, so its first entries may not belong to the page.
    if (events > maxEvents) return { name, spans, readTo, gapAfter: undefined };
  }
  if (rows.length > 0) return { name, spans, readTo, gapAfter: undefined };
  return (await mayContinueAt(until + 1, totals.get(name) ?? 0))
    ? { name, spans, readTo: Number.POSITIVE_INFINITY, gapAfter: undefined }
    : { name, spans, readTo: after, gapAfter: after };
}

/** Reads chunks. A damaged chunk is undefined and does not affect the others. */
async function readChunks({ db, snapshot }: Source, spans: readonly SpanOf[]) {
  const keys = spans.map(({ last }) => chunkKey(last));
  const withoutDamage = (reason: unknown) => {
    if (!isDamage(reason)) throw reason;
    return undefined;
  };
  const texts =
    (await db.getMany(keys, { snapshot }).catch(withoutDamage)) ??
    (await Promise.all(keys.map((key) => db.get(key, { snapshot }).catch(withoutDamage))));
  return spans.map(({ last }, index) => {
    const text = texts[index];
    return text === undefined ? undefined : parseChunk(last, text);
  });
}

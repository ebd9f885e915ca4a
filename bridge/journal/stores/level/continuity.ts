import type { Gap } from "../../../../contract/socket-messages.ts";
import type { Database } from "../../../../platform/level/write-set.ts";
import { countBits, lowBits } from "./bit-mask.ts";
import type { ChannelLog } from "./channel-logs.ts";
import { parseChunk, type Span } from "./chunk.ts";
import { positionOfKey, rowsOf, spanKey, spansEnd } from "./keys.ts";

type Snapshot = ReturnType<Database["snapshot"]>;

/** The part of a span that concerns one channel. */
export interface SpanOf {
  first: number;
  last: number;
  /** The number of entries that were ever appended to the channel before the chunk. */
  before: number;
  /** `before`, plus the number of the channel's entries in the chunk. */
  until: number;
  /** The mask of the channel's entries. Bit 0 is the first entry of the chunk. */
  mask: number;
}

export function readSpan(name: string, key: string, value: string): SpanOf {
  const span: Span = JSON.parse(value);
  const index = span[3].indexOf(name);
  const last = positionOfKey(key);
  const mask = span[4][index] ?? 0;
  const before = span[5][index] ?? 0;
  return { first: last - span[2] + 1, last, before, until: before + countBits(mask), mask };
}

/** The number of entries that were ever appended to the channel up to `position`, the last position of a chunk. */
export async function countUpTo(
  db: Database,
  { name, floor, dropped }: Pick<ChannelLog, "name" | "floor" | "dropped">,
  position: number,
  snapshot?: Snapshot,
): Promise<number> {
  if (position <= floor) return dropped;
  const range = { gte: spanKey(name, floor + 1), lt: spanKey(name, position + 1), reverse: true, limit: 1 };
  const [row] = await db.iterator({ ...range, ...(snapshot === undefined ? {} : { snapshot }) }).all();
  return row === undefined ? dropped : readSpan(name, ...row).until;
}

/**
 * Whether entries of the channel are missing in a range of positions without a chunk. If retention only removed chunks
 * of other channels from the range, the channel's counts before and after the range are consecutive.
 */
export async function isMissing(db: Database, log: ChannelLog, { after, before }: Gap): Promise<boolean> {
  for (;;) {
    const { name, floor, dropped, total } = log;
    if (before - 1 <= floor) return false;
    const counted = await countUpTo(db, { name, floor, dropped }, after);
    const next = await firstSpan(db, log, Math.max(after, floor), floor);
    const missing = next === undefined ? counted < total : next.first < before || counted < next.before;
    // Repeats if retention raised the floor meanwhile: entries that retention removed are not missing.
    if (log.floor === floor) return missing;
  }
}

async function firstSpan(db: Database, { name }: ChannelLog, after: number, floor: number) {
  for await (const [key, value] of db.iterator({ gte: spanKey(name, after + 1), lt: spansEnd(name) })) {
    const span = readSpan(name, key, value);
    if ((span.mask & ~lowBits(floor - span.first + 1)) !== 0) return span;
  }
  return undefined;
}

export interface MissingEntries {
  channel: string;
  gap: Gap;
  /** The number of missing entries. */
  count: number;
}

/** Finds all missing entries, and counts those in readable chunks. Nothing may write to the journal meanwhile. */
export async function findMissing(db: Database, logs: Iterable<ChannelLog>) {
  const chunks = new Set<number>();
  let entries = 0;
  for await (const [key, text] of db.iterator(rowsOf("m"))) {
    const last = positionOfKey(key);
    const chunk = parseChunk(last, text);
    if (chunk === undefined) continue;
    chunks.add(last);
    entries += last - chunk.first + 1;
  }
  const missing: MissingEntries[] = [];
  for (const { name, floor, dropped, total } of logs) {
    let counted = dropped;
    let readTo = floor;
    const note = (before: number, count: number) => {
      if (count > 0) missing.push({ channel: name, gap: { after: readTo, before }, count });
    };
    for await (const [key, value] of db.iterator({ gte: spanKey(name, floor + 1), lt: spansEnd(name) })) {
      const span = readSpan(name, key, value);
      // `dropped` already includes the chunk's entries below the floor.
      const below = countBits(span.mask & lowBits(floor - span.first + 1));
      note(span.first, span.before + below - counted);
      if (!chunks.has(span.last)) {
        readTo = Math.max(readTo, span.first - 1);
        note(span.last + 1, span.until - span.before - below);
      }
      counted = span.until;
      readTo = span.last;
    }
    note(Math.max(readTo + 1, await newestOf(db)) + 1, total - counted);
  }
  return { missing, entries };
}

async function newestOf(db: Database): Promise<number> {
  const [newest] = await db.keys({ ...rowsOf("m"), reverse: true, limit: 1 }).all();
  return newest === undefined ? 0 : positionOfKey(newest);
}

import { type Database, WriteSet } from "../../../../platform/level/write-set.ts";
import type { LoggedPublication } from "../../../../platform/publication-log.ts";
import { newestOf, type ReferencedPreviews } from "../../preview-references.ts";
import { positionOfKey, publicationsKey } from "./keys.ts";
import { PublicationsBuilder, type PublicationsRow, readPublications } from "./publications.ts";

const ROWS_PER_READ = 64;
const BYTES_PER_READ = 256 * 1024;
/** Rows are joined up to this size. */
const ROW_BYTES = 128 * 1024;
/** The event loop is not kept longer than this at a time. One row is always processed at once. */
const MAX_TURN_MS = 2;
/** A range is rewritten if at most this share of its publications stays. */
const MAX_KEPT = 0.8;

interface CompactionOptions {
  db: Database;
  /** Rows whose last position is above `after` and at most `upTo` are rewritten. */
  range: { after: number; upTo: number };
  isWanted: (publication: LoggedPublication) => boolean;
  previews: ReferencedPreviews | undefined;
}

/**
 * Prepares one write that replaces the rows of the range by fewer rows, without the publications that nobody wants. The
 * rows stay linked: the last new row has the key of the last old row, even if it is empty, because the row after the
 * range names this key. So a reader sees no loss, and a crash leaves the rows from before the write or from after it.
 * @returns undefined if little would be gained, or rows are missing or unreadable: readers must notice them
 */
export async function compactRange({
  db,
  range,
  isWanted,
  previews,
}: CompactionOptions): Promise<WriteSet | undefined> {
  const keys: string[] = [];
  const kept: LoggedPublication[] = [];
  let total = 0;
  let previous: number | undefined;
  let last = 0;
  let writtenAt = 0;
  const bounds = { gt: publicationsKey(range.after), lte: publicationsKey(range.upTo) };
  const rows = db.iterator<string, Uint8Array>({
    ...bounds,
    highWaterMarkBytes: BYTES_PER_READ,
    valueEncoding: "view",
  });
  try {
    let startedAt = performance.now();
    for (let page = await rows.nextv(ROWS_PER_READ); page.length > 0; page = await rows.nextv(ROWS_PER_READ)) {
      const parsed = page.map(([key, bytes]) => ({ key, row: parse(bytes) }));
      const newest = await newestOf(
        parsed.flatMap(({ row }) => row?.publications ?? []),
        previews,
      );
      for (const { key, row } of parsed) {
        if (row?.previous === undefined || (keys.length > 0 && row.previous !== last)) return undefined;
        previous ??= row.previous;
        last = positionOfKey(key);
        writtenAt = row.writtenAt ?? writtenAt;
        keys.push(key);
        total += row.publications.length;
        for (const publication of row.publications) {
          const isCurrent = publication.reference === undefined || newest.has(publication);
          if (isCurrent && isWanted(publication)) kept.push(publication);
        }
        if (performance.now() - startedAt < MAX_TURN_MS) continue;
        await new Promise((resolve) => setImmediate(resolve));
        startedAt = performance.now();
      }
    }
  } finally {
    await rows.close();
  }
  if (previous === undefined || (kept.length > total * MAX_KEPT && keys.length < total)) return undefined;
  if (kept.length === total && keys.length <= 1) return undefined;
  return rewritten(keys, kept, { previous, last, writtenAt });
}

function rewritten(
  keys: readonly string[],
  kept: readonly LoggedPublication[],
  { previous: first, last, writtenAt }: { previous: number; last: number; writtenAt: number },
): WriteSet {
  const set = new WriteSet();
  for (const key of keys) set.del(key);
  let previous = first;
  let builder = new PublicationsBuilder();
  let bytes = 0;
  for (const [index, publication] of kept.entries()) {
    const { position, topic, payload } = publication;
    builder.add(position, topic, publication);
    bytes += payload.length + topic.length;
    if (bytes < ROW_BYTES || index === kept.length - 1) continue;
    set.put(publicationsKey(position), builder.toBytes(previous, writtenAt));
    previous = position;
    builder = new PublicationsBuilder();
    bytes = 0;
  }
  set.put(publicationsKey(last), builder.toBytes(previous, writtenAt));
  return set;
}

function parse(bytes: Uint8Array): PublicationsRow | undefined {
  try {
    return readPublications(bytes);
  } catch {
    return undefined;
  }
}

import { type Database, WriteSet } from "../../../../platform/level/write-set.ts";
import type { LoggedPublication } from "../../../../platform/publication-log.ts";
import { ReducedRows } from "../../core/reduced-rows.ts";
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
 * Prepares one write that replaces the rows of the range by fewer rows, without the publications that nobody wants. A
 * crash leaves the rows from before the write or from after it.
 * @returns undefined if little would be gained, or rows are missing or unreadable: readers must notice them
 */
export async function compactRange({
  db,
  range,
  isWanted,
  previews,
}: CompactionOptions): Promise<{ set: WriteSet; removedBytes: number } | undefined> {
  const keys: string[] = [];
  const reduced = new ReducedRows(isWanted);
  const bounds = { gt: publicationsKey(range.after), lte: publicationsKey(range.upTo) };
  const rows = db.iterator<string, Uint8Array>({
    ...bounds,
    highWaterMarkBytes: BYTES_PER_READ,
    valueEncoding: "view",
  });
  try {
    let startedAt = performance.now();
    for (let page = await rows.nextv(ROWS_PER_READ); page.length > 0; page = await rows.nextv(ROWS_PER_READ)) {
      const parsed = page.map(([key, bytes]) => ({ key, last: positionOfKey(key), content: parse(bytes) }));
      const publications = parsed.flatMap(({ content }) => content?.publications ?? []);
      const newest = await newestOf(publications, previews);
      for (const row of parsed) {
        if (!reduced.add(row, newest)) return undefined;
        keys.push(row.key);
        if (performance.now() - startedAt < MAX_TURN_MS) continue;
        await new Promise((resolve) => setImmediate(resolve));
        startedAt = performance.now();
      }
    }
  } finally {
    await rows.close();
  }
  const { kept, total, count, removedBytes } = reduced;
  if (count === 0 || (kept.length > total * MAX_KEPT && count < total)) return undefined;
  if (kept.length === total && count <= 1) return undefined;
  const set = new WriteSet();
  for (const key of keys) set.del(key);
  for (const { previous, last, writtenAt = 0, publications } of reduced.rows(ROW_BYTES)) {
    const builder = new PublicationsBuilder();
    for (const publication of publications) builder.add(publication.position, publication.topic, publication);
    set.put(publicationsKey(last), builder.toBytes(previous, writtenAt));
  }
  return { set, removedBytes };
}

function parse(bytes: Uint8Array): PublicationsRow | undefined {
  try {
    return readPublications(bytes);
  } catch {
    return undefined;
  }
}

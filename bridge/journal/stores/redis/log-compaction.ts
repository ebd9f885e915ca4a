import { StoreUnavailableError } from "../../../../platform/errors.ts";
import type { Connection } from "../../../../platform/redis/connection.ts";
import { partsOf } from "../../../../platform/redis/reply.ts";
import type { PublicationStore } from "../../core/publication-log.ts";
import { ReducedRows } from "../../core/reduced-rows.ts";
import { newestOf, type ReferencedPreviews } from "../../preview-references.ts";
import type { JournalKeys } from "./keys.ts";
import { encodeCompacted, type StoredRow } from "./publication-rows.ts";
import type { RedisView } from "./redis-view.ts";
import { COMPACT_PUBLICATIONS } from "./scripts.ts";

/** Rows that one call of the script replaces, so that no call blocks Redis for long. */
const ROWS_PER_STEP = 500;
/** Rows are joined up to this size. */
const ROW_BYTES = 64 * 1024;
/** Rows are replaced if at most this share of their publications stays. */
const MAX_KEPT = 0.8;
/** Rows of earlier compactions are joined even if all their publications stay, if there are so many. */
const MIN_JOINED = 16;
/** A row names its publications by their distance from its last position. */
const MAX_DISTANCE = 2 ** 31;

interface LogCompactionOptions {
  writing: Connection;
  keys: JournalKeys;
  run: string;
  view: () => RedisView;
  /** The newest change of rows up to which this node knows what its sessions need. */
  rowChange: () => number;
  /** How many creations of groups of shared subscriptions this node knows. */
  shareVersion: () => string;
  /** The next rows whose last position is above `after` and at most `until`, at most `count`. */
  rows: (after: number, until: number, count: number) => Promise<StoredRow[]>;
  previews: ReferencedPreviews | undefined;
}

type CompactArgs = Parameters<PublicationStore["compact"]>;

/**
 * Compacts the log in small steps. Each step is one call of a script, so that after a crash the rows of a step are those
 * from before it or from after it. Compacted rows are in the sorted set `compacted`, because a stream cannot get rows
 * between others.
 */
export class LogCompaction {
  readonly #options: LogCompactionOptions;

  constructor(options: LogCompactionOptions) {
    this.#options = options;
  }

  /** As {@link PublicationStore.compact}. Stops before missing or unreadable rows: readers must notice them. */
  async compact(...[{ after, upTo }, isWanted, onRemoved]: CompactArgs): Promise<void> {
    const { view, rowChange, shareVersion, keys, run, rows, previews } = this.#options;
    const { epoch, publications } = view();
    const base = [keys.prefix, epoch, run, rowChange(), shareVersion()];
    let from = Math.max(after, publications.floor);
    if (from >= upTo) return;
    let compactions = await this.#run([...base, from, upTo]);
    while (from < upTo) {
      const found = await rows(from, upTo, ROWS_PER_STEP);
      const content = found.flatMap((row) => row.content?.publications ?? []);
      const newest = await newestOf(content, previews);
      const reduced = new ReducedRows(isWanted);
      const count = found.findIndex((row) => !reduced.add(row, newest));
      const added = count === -1 ? found : found.slice(0, count);
      if (added.length === 0) return;
      if (isWorthwhile(reduced, added)) {
        const replaced = [...base, from, reduced.last, compactions, ...replacement(reduced, added)];
        compactions = await this.#run(replaced);
        onRemoved(reduced.last, reduced.removedBytes);
      }
      if (count !== -1) return;
      from = reduced.last;
    }
  }

  /** @returns the number of compactions */
  async #run(args: (string | number | Buffer)[]): Promise<string> {
    const { writing, keys } = this.#options;
    const [verdict, compactions] = partsOf(await writing.run(COMPACT_PUBLICATIONS, keys.meta, args));
    if (verdict === "ok") return String(compactions);
    throw new StoreUnavailableError(
      verdict === "later"
        ? "sessions that are connected to another node may still want messages: retry later"
        : "the log was changed meanwhile: retry",
    );
  }
}

function isWorthwhile({ kept, total, count, last }: ReducedRows, rows: readonly StoredRow[]): boolean {
  if (last - (kept[0]?.position ?? last) > MAX_DISTANCE) return false;
  if (count >= MIN_JOINED && rows.every(({ id }) => id === undefined)) return true;
  return count > 1 || total > 0 ? kept.length <= total * MAX_KEPT : false;
}

/** The arguments of the script for the rows. */
function replacement(reduced: ReducedRows, rows: readonly StoredRow[]): (string | number | Buffer)[] {
  const bytesBefore = rows[0]?.content?.bytesBefore ?? 0;
  const values = [...reduced.rows(ROW_BYTES)].map((row) => ({ row, value: encodeCompacted(row, bytesBefore) }));
  const before = rows.reduce((sum, { content }) => sum + (content?.bytes ?? 0), 0);
  const after = values.reduce((sum, { value }) => sum + value.length, 0);
  return [
    ...[Math.max(0, before - after), reduced.removedBytes, values.length],
    ...values.flatMap(({ row, value }) => [row.last, value]),
    ...rows.flatMap(({ id }) => id ?? []),
  ];
}

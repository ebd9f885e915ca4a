import type { Logger } from "pino";
import type { Store } from "../../../../platform/level/store.ts";
import type { Database } from "../../../../platform/level/write-set.ts";
import type { LoggedPublication } from "../../../../platform/publication-log.ts";
import type { JournalView } from "../../core/journal-view.ts";
import { type PublicationStore, parsed } from "../../core/publication-log.ts";
import type { LogRow } from "../../core/publication-page.ts";
import { PublicationRows } from "../../core/publication-rows.ts";
import type { ReferencedPreviews } from "../../preview-references.ts";
import type { GroupCommit } from "./group-commit.ts";
import { LOG_FLOOR_KEY, positionOfKey, publicationsKey, retainedKey, rowsOf } from "./keys.ts";
import { compactRange } from "./log-compaction.ts";
import { readPublications } from "./publications.ts";

/** One row may be as large as a whole write. */
const ROWS_PER_READ = 64;
const BYTES_PER_READ = 512 * 1024;
const RECLAIM_BYTES = 64 * 1024 * 1024;
const BYTES = { valueEncoding: "view" } as const;

type CompactArgs = Parameters<PublicationStore["compact"]>;

interface LevelPublicationsOptions {
  /** Raised and resized by removals. */
  view: Pick<JournalView, "head" | "publications">;
  store: Pick<Store, "db" | "read">;
  writer: () => Pick<GroupCommit, "deferredRows" | "flushDeferredRows" | "removeRetained">;
  previews: ReferencedPreviews | undefined;
  logger: Logger;
}

/** Reads where the log begins and ends. @param head the newest position of the journal */
export async function loadPublicationRows(db: Database, head: number): Promise<PublicationRows> {
  const floor = Number((await db.get(LOG_FLOOR_KEY)) ?? 0);
  const [newest] = await db.keys({ ...rowsOf("p"), reverse: true, limit: 1 }).all();
  const last = newest === undefined ? Math.min(floor, head) : positionOfKey(newest);
  return new PublicationRows(last, await sizeAbove(db, floor), Math.min(floor, head));
}

function sizeAbove(db: Database, position: number): Promise<number> {
  return db.approximateSize(publicationsKey(position), rowsOf("p").lt);
}

/** The publications in the rows of the journal's writes. */
export class LevelPublications implements PublicationStore {
  readonly #options: LevelPublicationsOptions;
  #trimming: Promise<void> = Promise.resolve();
  /** The size of removed rows since the files were last compacted. */
  #removedBytes = 0;

  constructor(options: LevelPublicationsOptions) {
    this.#options = options;
  }

  async rows(after: number, until: number): Promise<LogRow[]> {
    const range = { gt: publicationsKey(after), lte: publicationsKey(until), highWaterMarkBytes: BYTES_PER_READ };
    const rows = await this.#options.store.read((db) => {
      const iterator = db.iterator<string, Uint8Array>({ ...range, ...BYTES });
      return iterator.nextv(ROWS_PER_READ).finally(() => iterator.close());
    });
    return rows.map(([key, bytes]) => ({ last: positionOfKey(key), content: this.#parse(key, bytes) }));
  }

  #parse(key: string, bytes: Uint8Array) {
    return parsed(this.#options.logger, key, () => readPublications(bytes));
  }

  trim(upTo: number): void {
    const { head, publications } = this.#options.view;
    if (upTo <= publications.floor) return;
    publications.trimmed(Math.min(upTo, head));
    this.#trimming = this.#trimming
      .then(() => this.#trim(publications))
      .catch((err: unknown) => {
        this.#options.logger.debug({ err }, "publications not removed, retrying later");
      });
  }

  storeFor(hasSessions: boolean): void {
    this.#options.view.publications.isStored = hasSessions;
  }

  /** Waits for removals. The removals after it wait for the compaction. */
  async compact(...args: CompactArgs): Promise<void> {
    const compacting = this.#trimming.then(() => this.#compact(...args));
    this.#trimming = compacting.then(
      () => {},
      () => {},
    );
    await compacting;
  }

  async #compact(...[range, isWanted, onRemoved]: CompactArgs): Promise<void> {
    const { store, writer, previews, view } = this.#options;
    const { publications } = view;
    const after = Math.max(range.after, publications.floor);
    const found = await store.read((db) => compactRange({ db, range: { ...range, after }, isWanted, previews }));
    if (found === undefined) return;
    const removed = await store.db.approximateSize(publicationsKey(after), publicationsKey(range.upTo));
    writer().deferredRows.add(found.set);
    await writer().flushDeferredRows();
    await this.#reclaim(removed, range.upTo);
    publications.written = await sizeAbove(store.db, publications.floor);
    onRemoved(range.upTo, found.removedBytes);
  }

  /** LevelDB keeps removed rows in its files for long: many of them are worth a compaction of the files. */
  async #reclaim(removed: number, upTo: number): Promise<void> {
    this.#removedBytes += removed;
    if (this.#removedBytes < RECLAIM_BYTES) return;
    this.#removedBytes = 0;
    await this.#options.store.db.compactRange(rowsOf("p").gte, publicationsKey(upTo));
  }

  /** Resolves when no removal runs. */
  async idle(): Promise<void> {
    await this.#trimming;
  }

  async #trim(publications: PublicationRows): Promise<void> {
    const { store, writer } = this.#options;
    const { floor } = publications;
    // First the floor, so that removed rows never seem to be missing.
    writer().deferredRows.put(LOG_FLOOR_KEY, String(floor));
    await writer().flushDeferredRows();
    const range = { gte: rowsOf("p").gte, lte: publicationsKey(floor) };
    const removed = await store.db.approximateSize(range.gte, range.lte);
    await store.db.clear(range);
    await this.#reclaim(removed, floor);
    publications.written = await sizeAbove(store.db, floor);
  }

  async *allRetained(): AsyncGenerator<LoggedPublication> {
    const rows = this.#options.store.db.iterator<string, Uint8Array>({ ...rowsOf("r"), ...BYTES });
    for await (const [key, bytes] of rows) {
      const publication = this.#parse(key, bytes)?.publications[0];
      if (publication !== undefined) yield publication;
    }
  }

  removeRetained: PublicationStore["removeRetained"] = (messages) => this.#options.writer().removeRetained(messages);

  async retained(topics: readonly string[]): Promise<(LoggedPublication | undefined)[]> {
    const keys = topics.map(retainedKey);
    const rows = await this.#options.store.read((db) => db.getMany<string, Uint8Array>(keys, BYTES));
    return rows.map((bytes, index) => bytes && this.#parse(keys[index] ?? "", bytes)?.publications[0]);
  }
}

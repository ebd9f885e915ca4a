import type { Logger } from "pino";
import { messageOf } from "../../../../platform/errors.ts";
import type { Store } from "../../../../platform/level/store.ts";
import type { Database } from "../../../../platform/level/write-set.ts";
import { Listeners } from "../../../../platform/listeners.ts";
import type {
  LoggedPublication,
  PublicationLog,
  PublicationPage,
  RetainedPublication,
} from "../../../../platform/publication-log.ts";
import { type ReferencedPreviews, withPictures } from "../../preview-references.ts";
import { publicationPage } from "../publication-page.ts";
import { RecentPublications } from "../recent-publications.ts";
import type { GroupCommit } from "./group-commit.ts";
import { LOG_FLOOR_KEY, positionOfKey, publicationsKey, retainedKey, rowsOf } from "./keys.ts";
import { compactRange } from "./log-compaction.ts";
import { type PublicationsRow, readPublications } from "./publications.ts";

/** One row may be as large as a whole write. */
const ROWS_PER_READ = 64;
const BYTES_PER_READ = 512 * 1024;
const RECLAIM_BYTES = 64 * 1024 * 1024;
const BYTES = { valueEncoding: "view" } as const;

/** The place in the log at which a run begins. */
export interface LogStart {
  /** Publications up to this position were removed. */
  floor: number;
  /** The last position of the newest row; the floor when there is none. */
  last: number;
  /** The size of the rows, approximate. */
  bytes: number;
}

interface LevelPublicationLogOptions {
  start: LogStart;
  store: Pick<Store, "db" | "read">;
  writer: () => Pick<GroupCommit, "deferredRows" | "flushDeferredRows">;
  epoch: () => string;
  head: () => number;
  /** Default: publications of previews are left out of reads. */
  previews?: ReferencedPreviews | undefined;
  logger: Logger;
}

/** Reads where the log begins and ends. @param head the newest position of the journal */
export async function logStart(db: Database, head: number): Promise<LogStart> {
  const floor = Number((await db.get(LOG_FLOOR_KEY)) ?? 0);
  const [newest] = await db.keys({ ...rowsOf("p"), reverse: true, limit: 1 }).all();
  const last = newest === undefined ? Math.min(floor, head) : positionOfKey(newest);
  return { floor: Math.min(floor, head), last, bytes: await sizeAbove(db, floor) };
}

function sizeAbove(db: Database, position: number): Promise<number> {
  return db.approximateSize(publicationsKey(position), rowsOf("p").lt);
}

/** The publications in the rows of the journal's writes. */
export class LevelPublicationLog implements PublicationLog {
  readonly #options: LevelPublicationLogOptions;
  readonly #followers: Listeners<[publications: readonly LoggedPublication[], head: number]>;
  readonly #recent: RecentPublications;
  #trimming: Promise<void> = Promise.resolve();
  /** The size of removed rows since the files were last compacted. */
  #removedBytes = 0;
  /** The last position of the newest durable row. */
  last: number;
  floor: number;
  bytes: number;

  constructor(options: LevelPublicationLogOptions) {
    this.#options = options;
    this.#followers = new Listeners(options.logger);
    this.#recent = new RecentPublications(options.head());
    this.floor = options.start.floor;
    this.last = options.start.last;
    this.bytes = options.start.bytes;
  }

  get epoch(): string {
    return this.#options.epoch();
  }

  get head(): number {
    return this.#options.head();
  }

  follow: PublicationLog["follow"] = (onPublications) => this.#followers.add(onPublications);
  recent: PublicationLog["recent"] = (after) => this.#recent.read(after);

  /** Makes the publications of a durable write visible. */
  publish(publications: readonly LoggedPublication[], rowBytes: number): void {
    const { head } = this;
    // The key of a row is the last position of its write.
    if (publications.length > 0) this.last = head;
    this.bytes += rowBytes;
    this.#recent.push(publications, head);
    this.#followers.call(publications, head);
  }

  async read(after: number): Promise<PublicationPage> {
    return await withPictures(await this.scan(after), this.#options.previews);
  }

  async scan(after: number): Promise<PublicationPage> {
    const { head, last, floor } = this;
    const from = Math.max(after, floor);
    if (from >= last) return { publications: [], next: Math.max(from, head) };
    const range = { gt: publicationsKey(from), lte: publicationsKey(head), highWaterMarkBytes: BYTES_PER_READ };
    const rows = await this.#options.store.read((db) => {
      const iterator = db.iterator<string, Uint8Array>({ ...range, ...BYTES });
      return iterator.nextv(ROWS_PER_READ).finally(() => iterator.close());
    });
    const logRows = rows.map(([key, bytes]) => ({ last: positionOfKey(key), content: this.#parse(key, bytes) }));
    return publicationPage(logRows, { from, head, last });
  }

  #parse(key: string, bytes: Uint8Array): PublicationsRow | undefined {
    try {
      return readPublications(bytes);
    } catch (error) {
      this.#options.logger.error({ key, why: messageOf(error) }, "publications of one write are unreadable");
      return undefined;
    }
  }

  trim(upTo: number): void {
    if (upTo <= this.floor) return;
    this.floor = Math.min(upTo, this.head);
    this.#trimming = this.#trimming
      .then(() => this.#trim(this.floor))
      .catch((err: unknown) => {
        this.#options.logger.debug({ err }, "publications not removed, retrying later");
      });
  }

  /** Waits for removals. The removals after it wait for the compaction. */
  async compact(...[range, isWanted]: Parameters<NonNullable<PublicationLog["compact"]>>): Promise<boolean> {
    const compacting = this.#trimming.then(() => this.#compact(range, isWanted));
    this.#trimming = compacting.then(
      () => {},
      () => {},
    );
    return await compacting;
  }

  async #compact(...[range, isWanted]: Parameters<NonNullable<PublicationLog["compact"]>>): Promise<boolean> {
    const { store, writer, previews } = this.#options;
    const after = Math.max(range.after, this.floor);
    const set = await store.read((db) => compactRange({ db, range: { ...range, after }, isWanted, previews }));
    if (set === undefined) return false;
    const removed = await store.db.approximateSize(publicationsKey(after), publicationsKey(range.upTo));
    writer().deferredRows.add(set);
    await writer().flushDeferredRows();
    await this.#reclaim(removed, range.upTo);
    this.bytes = await sizeAbove(store.db, this.floor);
    return true;
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

  async #trim(floor: number): Promise<void> {
    const { store, writer } = this.#options;
    // First the floor, so that removed rows never seem to be missing.
    writer().deferredRows.put(LOG_FLOOR_KEY, String(floor));
    await writer().flushDeferredRows();
    const range = { gte: rowsOf("p").gte, lte: publicationsKey(floor) };
    const removed = await store.db.approximateSize(range.gte, range.lte);
    await store.db.clear(range);
    await this.#reclaim(removed, floor);
    this.bytes = await sizeAbove(store.db, floor);
  }

  async *retainedTopics(): AsyncGenerator<{ topic: string; bytes: number; position: number }> {
    const rows = this.#options.store.db.iterator<string, Uint8Array>({ ...rowsOf("r"), ...BYTES });
    for await (const [key, bytes] of rows) {
      const publication = this.#parse(key, bytes)?.publications[0];
      if (publication === undefined) continue;
      const { topic, payload, position } = publication;
      yield { topic, bytes: payload.length, position };
    }
  }

  async retained(topics: readonly string[]): Promise<(RetainedPublication | undefined)[]> {
    const keys = topics.map(retainedKey);
    const rows = await this.#options.store.read((db) => db.getMany<string, Uint8Array>(keys, BYTES));
    return rows.map((bytes, index) => {
      if (bytes === undefined) return undefined;
      const publication = this.#parse(keys[index] ?? "", bytes)?.publications[0];
      return publication === undefined ? undefined : { ...publication, retain: true };
    });
  }
}

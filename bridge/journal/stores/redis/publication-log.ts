import type { Logger } from "pino";
import { StoreUnavailableError } from "../../../../platform/errors.ts";
import { Listeners } from "../../../../platform/listeners.ts";
import type {
  LoggedPublication,
  PublicationLog,
  PublicationPage,
  RetainedPublication,
} from "../../../../platform/publication-log.ts";
import { type ReferencedPreviews, withPictures } from "../../preview-references.ts";
import { type LogRow, publicationPage } from "../publication-page.ts";
import { RecentPublications } from "../recent-publications.ts";
import type { Chunk } from "./chunk.ts";
import { type Connection, partsOf } from "./connection.ts";
import type { JournalView } from "./journal-view.ts";
import type { JournalKeys } from "./keys.ts";
import { readRetained, readRow } from "./publication-rows.ts";
import { TRIM_PUBLICATIONS } from "./scripts.ts";

const MAX_ROWS_PER_READ = 64;
/** A read asks for as many rows as are this large together, by the average of the read before. */
const BYTES_PER_READ = 512 * 1024;
/** Rows that one call of the script removes: Redis needs a few milliseconds. */
const ROWS_PER_TRIM = 10_000;
/** Topics per read: Redis needs a few milliseconds. */
const TOPICS_PER_READ = 1_000;

/** The publications of chunks, by the chunk's last position. Undefined: the store has lost them. */
export type ChunkPublications = ReadonlyMap<number, readonly LoggedPublication[] | undefined>;

interface RedisPublicationLogOptions {
  /** For pages and retained messages. */
  reading: Connection;
  /** For trims. */
  writing: Connection;
  keys: JournalKeys;
  run: string;
  view: () => JournalView;
  /** The number of the newest change of rows that this node has applied. */
  rowChange: () => number;
  /** Called after the followers. */
  onFollowed: () => void;
  /** A run without a heartbeat for this long is dead: publications are not kept for it. */
  deadAfterMs: number;
  /** Default: publications of previews are left out of reads. */
  previews: ReferencedPreviews | undefined;
  logger: Logger;
}

/** The publications in the stream `publications`, and the retained messages. */
export class RedisPublicationLog implements PublicationLog {
  readonly #options: RedisPublicationLogOptions;
  readonly #followers: Listeners<[publications: readonly LoggedPublication[], head: number]>;
  readonly #resetListeners: Listeners<[]>;
  #recent: RecentPublications;
  /** The average size of the rows in the last page, bytes. */
  #rowBytes = BYTES_PER_READ / MAX_ROWS_PER_READ;
  #trimming: Promise<void> | undefined;
  head: number;
  /** This node needs no publications up to this position, by what it knew of sessions at {@link #knownChange}. */
  #neededAfter = 0;
  /** The number of a change of rows. */
  #knownChange = 0;
  /** The last position for which a trim succeeded. */
  #trimmedTo = 0;

  constructor(options: RedisPublicationLogOptions) {
    this.#options = options;
    this.#followers = new Listeners(options.logger);
    this.#resetListeners = new Listeners(options.logger);
    this.head = options.view().head;
    this.#recent = new RecentPublications(this.head);
  }

  get epoch(): string {
    return this.#options.view().epoch;
  }

  get floor(): number {
    return this.#options.view().publications.floor;
  }

  get bytes(): number {
    const { bytes, trimmedBytes } = this.#options.view().publications;
    return Math.max(0, bytes - trimmedBytes);
  }

  follow: PublicationLog["follow"] = (onPublications) => this.#followers.add(onPublications);
  recent: PublicationLog["recent"] = (after) => this.#recent.read(after);

  /** The run's entry in `publication-floors`. */
  get needs(): string {
    return `${this.#neededAfter} ${this.#knownChange}`;
  }

  /** Calls back when this node has missed publications, or another epoch has begun. @returns stops that */
  onReset(listener: () => void): () => void {
    return this.#resetListeners.add(listener);
  }

  /** Hands the next publications to the followers. They reach up to the position `head`. */
  publish(given: readonly LoggedPublication[], head: number): void {
    if (head <= this.head) return;
    // A page of `continueTo` may have ended within this batch.
    const isNew = ({ position }: LoggedPublication) => position > this.head;
    const publications = given[0] === undefined || isNew(given[0]) ? given : given.filter(isNew);
    this.head = head;
    this.#recent.push(publications, head);
    this.#followers.call(publications, head);
    this.#options.onFollowed();
  }

  /** Reports publications above `after` and below `before`, which the followers cannot get. */
  missed(after: number, before: number): void {
    this.#options.logger.error({ after, before }, "publications for MQTT subscribers are lost: redis has removed them");
    this.#recent = new RecentPublications(this.head);
    this.#resetListeners.call();
  }

  /** Begins again at the head of the view, which is of another epoch. */
  reset(): void {
    this.head = this.#options.view().head;
    this.#neededAfter = 0;
    this.#trimmedTo = 0;
    this.#recent = new RecentPublications(this.head);
    this.#resetListeners.call();
  }

  /** Hands the followers everything up to the head of a newer view of the same epoch. @throws {StoreUnavailableError} */
  async continueTo(view: JournalView): Promise<void> {
    while (this.head < view.head) {
      const { head } = this;
      const { publications, next, missing } = await this.#picturesOf(await this.#scan(head, view));
      this.publish(publications, next);
      if (missing !== undefined) this.missed(missing.after, missing.before);
    }
  }

  /** Reads the publications of the chunks, on the connection of the caller. @throws {StoreUnavailableError} */
  async publicationsOf(chunks: readonly Chunk[], connection: Connection): Promise<ChunkPublications> {
    const found = new Map<number, readonly LoggedPublication[] | undefined>();
    const lasts = chunks.map(({ base, size }) => base + size);
    const rows = await this.#rows(`${lasts[0]}-0`, `${lasts.at(-1)}-0`, undefined, connection);
    const rowOf = new Map(rows.map((row) => [row.last, row]));
    for (const last of lasts) {
      // A single read of a missing row shows that a short reply was not the reason.
      const row = rowOf.get(last) ?? (await this.#rows(`${last}-0`, `${last}-0`, undefined, connection))[0];
      if (row?.content === undefined) {
        found.set(last, undefined);
        continue;
      }
      const publications: LoggedPublication[] = [];
      for (let next = 0; next < row.last; ) {
        const rest = row.content.publications.filter(({ position }) => position > next);
        const page = await this.#picturesOf({ publications: rest, next: row.last });
        publications.push(...page.publications);
        next = page.next;
      }
      found.set(last, publications);
    }
    return found;
  }

  async read(after: number): Promise<PublicationPage> {
    return await this.#picturesOf(await this.scan(after));
  }

  async scan(after: number): Promise<PublicationPage> {
    const view = this.#options.view();
    const page = await this.#scan(after, view);
    if (this.epoch !== view.epoch) throw new StoreUnavailableError("the journal was loaded again during the read");
    return page;
  }

  async #scan(after: number, view: JournalView): Promise<PublicationPage> {
    const { head } = view;
    const { floor, last } = view.publications;
    const from = Math.max(after, floor);
    if (from >= last) return { publications: [], next: Math.max(from, head) };
    const count = Math.max(1, Math.min(MAX_ROWS_PER_READ, Math.round(BYTES_PER_READ / this.#rowBytes)));
    const rows = await this.#rows(`(${from}-0`, `${head}-0`, count, this.#options.reading);
    const page = publicationPage(rows, { from, head, last });
    // Another node may just have removed these rows.
    if (page.missing !== undefined && (await this.#refreshFloor(view)) > floor) return await this.#scan(after, view);
    return page;
  }

  async #rows(from: string, until: string, count: number | undefined, connection: Connection): Promise<LogRow[]> {
    const { keys } = this.#options;
    const found = await connection.do((redis) =>
      count === undefined
        ? redis.xrangeBuffer(keys.publications, from, until)
        : redis.xrangeBuffer(keys.publications, from, until, "COUNT", count),
    );
    let bytes = 0;
    const rows = found.map(([id, fields]): LogRow => {
      bytes += fields[3]?.length ?? 0;
      return this.#parse(Number.parseInt(id.toString("latin1"), 10), fields);
    });
    if (rows.length > 0) this.#rowBytes = Math.max(1, bytes / rows.length);
    return rows;
  }

  #parse(last: number, fields: readonly Buffer[]): LogRow {
    try {
      return { last, content: readRow(last, fields) };
    } catch (err) {
      this.#options.logger.error({ err, last }, "publications for MQTT subscribers are unreadable");
      return { last, content: undefined };
    }
  }

  async #refreshFloor({ publications }: JournalView): Promise<number> {
    const { reading, keys } = this.#options;
    const [floor, trimmed] = await reading.do((redis) => redis.hmget(keys.meta, "publicationFloor", "trimmedBytes"));
    publications.trimmed(Number(floor), Number(trimmed));
    return publications.floor;
  }

  #picturesOf(page: PublicationPage): Promise<PublicationPage> {
    return withPictures(page, this.#options.previews);
  }

  trim(upTo: number): void {
    this.#neededAfter = upTo;
    this.#knownChange = this.#options.rowChange();
    if (upTo <= this.#trimmedTo) return;
    this.#trimming ??= this.#trim()
      .catch((err: unknown) => {
        this.#options.logger.debug({ err }, "publications not removed, retrying later");
      })
      .finally(() => {
        this.#trimming = undefined;
      });
  }

  /** Resolves when no trim is running. */
  async idle(): Promise<void> {
    await this.#trimming;
  }

  async #trim(): Promise<void> {
    const { writing, keys, run, deadAfterMs } = this.#options;
    for (let more = true; more; ) {
      const view = this.#options.view();
      const wanted = this.#neededAfter;
      const args = [keys.prefix, view.epoch, run, this.needs, deadAfterMs, ROWS_PER_TRIM];
      const [verdict, floor, trimmedBytes, rest] = partsOf(await writing.run(TRIM_PUBLICATIONS, keys.meta, args));
      // The heartbeat and the reader of the log find out about another epoch.
      if (verdict !== "ok") return;
      view.publications.trimmed(Number(floor), Number(trimmedBytes));
      this.#trimmedTo = Math.min(wanted, Number(floor));
      more = rest === 1;
    }
  }

  async *retainedTopics(): AsyncGenerator<{ topic: string; bytes: number; position: number }> {
    const { reading, keys } = this.#options;
    // HSCAN may return a topic twice.
    const topics = new Set<string>();
    let cursor = "0";
    do {
      const from: string = cursor;
      const [next, fields] = await reading.do((redis) =>
        redis.hscanBuffer(keys.retained, from, "COUNT", TOPICS_PER_READ),
      );
      for (let index = 0; index + 1 < fields.length; index += 2) {
        const publication = this.#retained(fields[index + 1]);
        if (publication === undefined || topics.has(publication.topic)) continue;
        const { topic, payload, position } = publication;
        topics.add(topic);
        yield { topic, bytes: payload.length, position };
      }
      cursor = next.toString();
    } while (cursor !== "0");
  }

  async retained(topics: readonly string[]): Promise<(RetainedPublication | undefined)[]> {
    if (topics.length === 0) return [];
    const { reading, keys } = this.#options;
    const values = await reading.do((redis) => redis.hmgetBuffer(keys.retained, ...topics));
    return values.map((value) => this.#retained(value));
  }

  #retained(value: Buffer | null | undefined): RetainedPublication | undefined {
    if (value === null || value === undefined) return undefined;
    try {
      return readRetained(value);
    } catch (err) {
      this.#options.logger.error({ err }, "a retained message for MQTT subscribers is unreadable");
      return undefined;
    }
  }
}

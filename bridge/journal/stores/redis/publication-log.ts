import type { Logger } from "pino";
import type { LoggedPublication } from "../../../../platform/publication-log.ts";
import { type PublicationStore, parsed } from "../../core/publication-log.ts";
import type { PublicationRows } from "../../core/publication-rows.ts";
import { type ReferencedPreviews, withPictures } from "../../preview-references.ts";
import type { LogRow } from "../publication-page.ts";
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

interface RedisPublicationsOptions {
  /** For pages and retained messages. */
  reading: Connection;
  /** For trims. */
  writing: Connection;
  keys: JournalKeys;
  run: string;
  view: () => JournalView;
  /** The number of the newest change of rows that this node has applied. */
  rowChange: () => number;
  /** The sorted set of living nodes. */
  members: string;
  previews: ReferencedPreviews | undefined;
  logger: Logger;
}

/** The publications in the stream `publications`, and the retained messages. */
export class RedisPublications implements PublicationStore {
  readonly #options: RedisPublicationsOptions;
  /** The average size of the rows in the last page, bytes. */
  #rowBytes = BYTES_PER_READ / MAX_ROWS_PER_READ;
  #trimming: Promise<void> | undefined;
  /** This node needs no publications up to this position, by what it knew of sessions at {@link #knownChange}. */
  #neededAfter = 0;
  /** The number of a change of rows. */
  #knownChange = 0;
  /** The last position for which a trim succeeded. */
  #trimmedTo = 0;

  constructor(options: RedisPublicationsOptions) {
    this.#options = options;
  }

  /** The run's entry in `publication-floors`. */
  get needs(): string {
    return `${this.#neededAfter} ${this.#knownChange}`;
  }

  /** What this node needs is not known any more. */
  reset(): void {
    this.#neededAfter = 0;
    this.#trimmedTo = 0;
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
        const page = await withPictures({ publications: rest, next: row.last }, this.#options.previews);
        publications.push(...page.publications);
        next = page.next;
      }
      found.set(last, publications);
    }
    return found;
  }

  async rows(after: number, until: number): Promise<LogRow[]> {
    const count = Math.max(1, Math.min(MAX_ROWS_PER_READ, Math.round(BYTES_PER_READ / this.#rowBytes)));
    return await this.#rows(`(${after}-0`, `${until}-0`, count, this.#options.reading);
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
    return { last, content: parsed(this.#options.logger, last, () => readRow(last, fields)) };
  }

  async refreshFloor(publications: PublicationRows): Promise<void> {
    const { reading, keys } = this.#options;
    const [floor, trimmed] = await reading.do((redis) => redis.hmget(keys.meta, "publicationFloor", "trimmedBytes"));
    publications.trimmed(Number(floor), Number(trimmed));
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
    const { writing, keys, run, members } = this.#options;
    for (let more = true; more; ) {
      const view = this.#options.view();
      const wanted = this.#neededAfter;
      const args = [keys.prefix, view.epoch, run, this.needs, members, ROWS_PER_TRIM];
      const [verdict, floor, trimmedBytes, rest] = partsOf(await writing.run(TRIM_PUBLICATIONS, keys.meta, args));
      // The heartbeat and the reader of the log find out about another epoch.
      if (verdict !== "ok") return;
      view.publications.trimmed(Number(floor), Number(trimmedBytes));
      this.#trimmedTo = Math.min(wanted, Number(floor));
      more = rest === 1;
    }
  }

  async *allRetained(): AsyncGenerator<LoggedPublication> {
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
        topics.add(publication.topic);
        yield publication;
      }
      cursor = next.toString();
    } while (cursor !== "0");
  }

  async retained(topics: readonly string[]): Promise<(LoggedPublication | undefined)[]> {
    const { reading, keys } = this.#options;
    const values = await reading.do((redis) => redis.hmgetBuffer(keys.retained, ...topics));
    return values.map((value) => this.#retained(value));
  }

  #retained(value: Buffer | null | undefined): LoggedPublication | undefined {
    return value ? parsed(this.#options.logger, "retained", () => readRetained(value)) : undefined;
  }
}

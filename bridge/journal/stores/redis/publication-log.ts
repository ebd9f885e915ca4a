import type { Logger } from "pino";
import { z } from "zod";
import type { LoggedPublication } from "../../../../platform/publication-log.ts";
import type { Connection } from "../../../../platform/redis/connection.ts";
import { partsOf } from "../../../../platform/redis/reply.ts";
import { type PublicationStore, parsed } from "../../core/publication-log.ts";
import type { PublicationRows } from "../../core/publication-rows.ts";
import { type ReferencedPreviews, withPictures } from "../../preview-references.ts";
import type { Chunk } from "./chunk.ts";
import type { JournalKeys } from "./keys.ts";
import { LogCompaction } from "./log-compaction.ts";
import { lastOfCompacted, readCompacted, readRetained, readRow, type StoredRow } from "./publication-rows.ts";
import type { RedisView } from "./redis-view.ts";
import { REMOVE_RETAINED, TRIM_PUBLICATIONS } from "./scripts.ts";

const MAX_ROWS_PER_READ = 64;
/** A read asks for as many rows as are this large together, by the average of the read before. */
const BYTES_PER_READ = 512 * 1024;
/** Rows that one call of the script removes: Redis needs a few milliseconds. */
const ROWS_PER_TRIM = 10_000;
/** Topics per read: Redis needs a few milliseconds. */
const TOPICS_PER_READ = 1_000;

const bufferSchema = z.instanceof(Buffer);
const valueSchema = z.array(bufferSchema);
const entrySchema = z.array(z.tuple([bufferSchema, z.array(bufferSchema)]));

/** The publications of chunks, by the chunk's last position. Undefined: the store has lost them. */
export type ChunkPublications = ReadonlyMap<number, readonly LoggedPublication[] | undefined>;

interface RedisPublicationsOptions {
  /** For pages and retained messages. */
  reading: Connection;
  /** For trims. */
  writing: Connection;
  keys: JournalKeys;
  run: string;
  view: () => RedisView;
  /** The number of the newest change of rows up to which this node knows what its sessions need. */
  rowChange: () => number;
  /** How many creations of groups of shared subscriptions this node knows. */
  shareVersion: () => string;
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
  /** Sessions that are connected to this node need no publications up to this position. */
  #connectedAfter = 0;
  /** The last position for which a trim succeeded. */
  #trimmedTo = 0;
  readonly compact: PublicationStore["compact"];

  constructor(options: RedisPublicationsOptions) {
    this.#options = options;
    const rows = this.#rowsAbove.bind(this);
    const compaction = new LogCompaction({ ...options, rows });
    this.compact = (...args) => compaction.compact(...args);
  }

  /** The run's entry in `publication-floors`. */
  get needs(): string {
    return `${this.#neededAfter} ${this.#knownChange} ${this.#connectedAfter}`;
  }

  /** Forgets what the sessions of this node need. */
  reset(): void {
    this.#neededAfter = 0;
    this.#connectedAfter = 0;
    this.#trimmedTo = 0;
  }

  /** Reads the publications of the chunks, on the connection of the caller. @throws {StoreUnavailableError} */
  async publicationsOf(chunks: readonly Chunk[], connection: Connection): Promise<ChunkPublications> {
    const found = new Map<number, readonly LoggedPublication[] | undefined>();
    const lasts = chunks.map(({ base, size }) => base + size);
    const rows = await this.#rowsBetween(lasts[0], lasts.at(-1), connection);
    const rowOf = new Map(rows.map((row) => [row.last, row]));
    for (const last of lasts) {
      // A single read of a missing row shows that a short reply was not the reason.
      const row = rowOf.get(last) ?? (await this.#rowsBetween(last, last, connection))[0];
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

  rows(after: number, until: number): Promise<StoredRow[]> {
    return this.#rowsAbove(after, until, MAX_ROWS_PER_READ);
  }

  async #rowsAbove(after: number, until: number, maxCount: number): Promise<StoredRow[]> {
    const { keys, reading, logger } = this.#options;
    const count = Math.max(1, Math.min(maxCount, Math.round(BYTES_PER_READ / this.#rowBytes)));
    // Both at the same moment: a compaction moves rows from the stream to the sorted set.
    const found = await reading.do((redis) =>
      redis
        .multi()
        .xrangeBuffer(keys.publications, `(${after}-0`, `${until}-0`, "COUNT", count)
        .zrangebyscoreBuffer(keys.compacted, `(${after}`, until, "LIMIT", 0, count)
        .exec(),
    );
    const [streamed, compacted] = repliesOf(found);
    const rows = entrySchema.parse(streamed).map((entry) => this.#parse(entry));
    for (const value of valueSchema.parse(compacted)) {
      const last = lastOfCompacted(value);
      rows.push({ last, content: parsed(logger, last, () => readCompacted(last, value)) });
    }
    const first = rows.sort((one, other) => one.last - other.last).slice(0, count);
    const bytes = first.reduce((sum, { content }) => sum + (content?.bytes ?? 0), 0);
    if (first.length > 0) this.#rowBytes = Math.max(1, bytes / first.length);
    return first;
  }

  async #rowsBetween(
    first: number | undefined,
    last: number | undefined,
    connection: Connection,
  ): Promise<StoredRow[]> {
    const { keys } = this.#options;
    const found = await connection.do((redis) => redis.xrangeBuffer(keys.publications, `${first}-0`, `${last}-0`));
    return found.map((entry) => this.#parse(entry));
  }

  #parse([id, fields]: readonly [id: Buffer, fields: readonly Buffer[]]): StoredRow {
    const last = Number.parseInt(id.toString("latin1"), 10);
    return { last, id, content: parsed(this.#options.logger, last, () => readRow(last, fields)) };
  }

  async refreshFloor(publications: PublicationRows): Promise<void> {
    const { reading, keys } = this.#options;
    const [floor, trimmed] = await reading.do((redis) => redis.hmget(keys.meta, "publicationFloor", "trimmedBytes"));
    publications.trimmed(Number(floor), Number(trimmed));
  }

  trim(upTo: number, connected = upTo): void {
    this.#neededAfter = upTo;
    this.#connectedAfter = connected;
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

  removeRetained: PublicationStore["removeRetained"] = async (messages) => {
    const { writing, keys, view } = this.#options;
    for (let from = 0; from < messages.length; from += TOPICS_PER_READ) {
      const part = messages.slice(from, from + TOPICS_PER_READ).flatMap(({ topic, position }) => [topic, position]);
      await writing.run(REMOVE_RETAINED, keys.meta, [keys.prefix, view().epoch, ...part]);
    }
  };

  async retained(topics: readonly string[]): Promise<(LoggedPublication | undefined)[]> {
    const { reading, keys } = this.#options;
    const values = await reading.do((redis) => redis.hmgetBuffer(keys.retained, ...topics));
    return values.map((value) => this.#retained(value));
  }

  #retained(value: Buffer | null | undefined): LoggedPublication | undefined {
    return value ? parsed(this.#options.logger, "retained", () => readRetained(value)) : undefined;
  }
}

/** The replies of a transaction. @throws the error of a command */
function repliesOf(replies: [error: Error | null, reply: unknown][] | null): unknown[] {
  return (replies ?? []).map(([error, reply]) => {
    if (error !== null) throw error;
    return reply;
  });
}

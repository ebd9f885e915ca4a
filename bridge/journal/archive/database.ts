import { CompiledQuery, type Dialect, Kysely, Migrator, sql, type Transaction } from "kysely";
import type { TopicTree } from "../../../contract/topics.ts";
import type { MissingRange } from "../journal.ts";
import type { RetentionDays } from "./config.ts";
import { type Coverage, type CoverageQuery, readCoverage } from "./coverage.ts";
import { KINDS } from "./kinds.ts";
import { type FoundEvents, findEvents } from "./lookup.ts";
import { type Engine, migrationsOf } from "./migrations.ts";
import { type ArchivePage, type ArchiveQuery, readPage } from "./pages.ts";
import { type Bucket, type ReadingsQuery, readReadings } from "./readings.ts";
import { type ArchivedEntry, hasEvent, rowOf } from "./rows.ts";
import { type EpochRow, type EventRow, PERIOD_MS, placeOf, type Tables } from "./tables.ts";

export interface ArchivePosition {
  epoch: string;
  position: number;
}

/** Consecutive entries of the journal. */
export interface ArchiveBatch {
  epoch: string;
  /** The stored position, which the batch continues. */
  after: number;
  /** The stored position after the batch. */
  next: number;
  gap?: MissingRange;
  entries: readonly ArchivedEntry[];
}

/** The archive in its database. Any failure may mean that the database cannot be reached: try again later. */
export interface ArchiveDatabase {
  /** Up to where the journal is archived; undefined for an empty archive. */
  position(): Promise<ArchivePosition | undefined>;
  /**
   * Stores a batch and its position in one transaction. If the result is unknown, read the position again.
   * @returns false when the stored position is not `after`: another node has archived meanwhile
   */
  append(batch: ArchiveBatch): Promise<boolean>;
  page(query: ArchiveQuery): Promise<ArchivePage>;
  /** Finds the events with a sender's id. */
  find(eventId: string): Promise<FoundEvents>;
  /** Reads the measurements of a camera, reduced to buckets. */
  readings(query: ReadingsQuery): Promise<Bucket[]>;
  /** Reads what a series of a camera lacks, and when the camera was connected. */
  coverage(query: CoverageQuery): Promise<Coverage>;
  /** Deletes some events that are too old. @returns the number of deleted events; 0 when there are no more */
  prune(retentionDays: RetentionDays, now: number): Promise<number>;
  close(): Promise<void>;
}

/**
 * The numbers of events that one statement inserts in SQLite, which allows 32,766 parameters. There are few, because a
 * prepared statement for many events takes some 100 KB.
 */
const EVENTS_PER_INSERT = [100, 10, 1];
/** A deletion of this size takes some ten milliseconds. */
const EVENTS_PER_DELETION = 500;
/**
 * The planner's statistics are renewed after this many events. SQLite never renews them by itself. PostgreSQL does, but
 * too late after the first events: without statistics, it ignores the word index.
 */
const ANALYZE_EVERY_EVENTS = 50_000;

const COLUMNS = [
  ...["id", "epoch", "position", "time", "sent_at", "kind", "event", "camera", "channels", "reach"],
  ...["event_id", "subject", "words", "body"],
] as readonly (keyof EventRow)[];

const POSTGRES_TYPES: Partial<Record<keyof EventRow, string>> = {
  id: "bigint",
  epoch: "integer",
  position: "bigint",
  time: "bigint",
  sent_at: "bigint",
  reach: "integer",
};
/**
 * All rows are passed as one parameter. With one parameter for each value, PostgreSQL took twice as long, and this
 * thread four times as long.
 */
const POSTGRES_INSERT = `insert into archive_events (${COLUMNS.join(", ")}) select ${COLUMNS.join(", ")}
  from json_to_recordset($1::json) as rows(${COLUMNS.map((name) => `${name} ${POSTGRES_TYPES[name] ?? "text"}`).join(", ")})`;

interface OpenOptions {
  dialect: Dialect;
  engine: Engine;
  tree: TopicTree;
  /** Whether the schema is brought up to date. Default true. */
  migrate?: boolean;
}

/** Opens the archive and brings its schema up to date. */
export async function openArchiveDatabase({
  dialect,
  engine,
  tree,
  migrate = true,
}: OpenOptions): Promise<ArchiveDatabase> {
  const db = new Kysely<Tables>({ dialect });
  try {
    if (migrate) await migrateSchema(db, engine);
  } catch (error) {
    await db.destroy();
    throw error;
  }
  return new SqlArchive(db, engine, tree);
}

async function migrateSchema(db: Kysely<Tables>, engine: Engine): Promise<void> {
  const migrator = new Migrator({
    db,
    provider: { getMigrations: async () => migrationsOf(engine) },
    migrationTableName: "archive_migrations",
    migrationLockTableName: "archive_migrations_lock",
  });
  const { error } = await migrator.migrateToLatest();
  if (error !== undefined) throw error;
}

class SqlArchive implements ArchiveDatabase {
  readonly #db: Kysely<Tables>;
  readonly #engine: Engine;
  readonly #tree: TopicTree;
  /** The key is a number of events; the value is the statement that inserts this many. */
  readonly #inserts = new Map<number, string>();
  #unanalyzed = ANALYZE_EVERY_EVENTS - 1_000;

  constructor(db: Kysely<Tables>, engine: Engine, tree: TopicTree) {
    this.#db = db;
    this.#engine = engine;
    this.#tree = tree;
  }

  async position(): Promise<ArchivePosition | undefined> {
    const newest = await newestEpoch(this.#db);
    return newest && { epoch: newest.name, position: newest.position };
  }

  async append(batch: ArchiveBatch): Promise<boolean> {
    const isStored = await this.#db.transaction().execute((transaction) => this.#append(transaction, batch));
    this.#unanalyzed += batch.entries.length;
    if (this.#unanalyzed >= ANALYZE_EVERY_EVENTS) {
      this.#unanalyzed = 0;
      if (this.#engine === "sqlite") await sql`pragma analysis_limit = 400`.execute(this.#db);
      await sql`analyze archive_events`.execute(this.#db);
    }
    return isStored;
  }

  page(query: ArchiveQuery): Promise<ArchivePage> {
    return readPage(this.#db, this.#engine, query);
  }

  find(eventId: string): Promise<FoundEvents> {
    return findEvents(this.#db, eventId);
  }

  readings(query: ReadingsQuery): Promise<Bucket[]> {
    return readReadings(this.#db, this.#engine, query);
  }

  coverage(query: CoverageQuery): Promise<Coverage> {
    return readCoverage(this.#db, query);
  }

  async prune(retentionDays: RetentionDays, now: number): Promise<number> {
    let deleted = 0;
    for (const kind of KINDS) {
      const days = retentionDays[kind];
      if (days === undefined) continue;
      const cutoff = now - days * 86_400_000;
      const { last } = await this.#db
        .selectFrom("archive_periods")
        .select(({ fn }) => fn.max("last_id").as("last"))
        .where("period", "<=", Math.floor(cutoff / PERIOD_MS))
        .executeTakeFirstOrThrow();
      if (last === null) continue;
      const old = this.#db
        .selectFrom("archive_events")
        .select("id")
        .where("kind", "=", kind)
        .where("id", "<=", last)
        .where("time", "<", cutoff)
        .orderBy("id")
        .limit(EVENTS_PER_DELETION);
      const { numDeletedRows } = await this.#db.deleteFrom("archive_events").where("id", "in", old).executeTakeFirst();
      deleted += Number(numDeletedRows);
    }
    return deleted;
  }

  close(): Promise<void> {
    return this.#db.destroy();
  }

  async #append(db: Transaction<Tables>, { epoch: name, after, next, gap, entries }: ArchiveBatch): Promise<boolean> {
    const now = Date.now();
    const epoch = await this.#epoch(db, name, now);
    // Two nodes may archive at the same time for a moment. The second node waits here, and then finds another position.
    const { numUpdatedRows } = await db
      .updateTable("archive_epochs")
      .set({ position: next })
      .where("number", "=", epoch)
      .where("position", "=", after)
      .executeTakeFirst();
    if (numUpdatedRows !== 1n) return false;
    if (gap !== undefined) {
      const { before, reason } = gap;
      await db
        .insertInto("archive_gaps")
        .values({ id: placeOf(epoch, before), epoch, after: gap.after, before, reason, noticed_at: now })
        .execute();
    }
    const rows = await this.#withoutKnown(
      db,
      epoch,
      entries.filter(hasEvent).map((entry) => rowOf(entry, epoch, this.#tree)),
    );
    if (this.#engine === "postgres") await db.executeQuery(CompiledQuery.raw(POSTGRES_INSERT, [JSON.stringify(rows)]));
    else await this.#insertAll(db, rows);
    await notePeriods(db, rows);
    return true;
  }

  /**
   * Returns the number of the epoch. An unknown epoch is added, with a gap before it, because the epoch before may have
   * had more events.
   */
  async #epoch(db: Transaction<Tables>, name: string, now: number): Promise<number> {
    const known = await db.selectFrom("archive_epochs").select("number").where("name", "=", name).executeTakeFirst();
    if (known !== undefined) return known.number;
    const before = await newestEpoch(db);
    const number = (before?.number ?? 0) + 1;
    await db.insertInto("archive_epochs").values({ number, name, position: 0, began_at: now }).execute();
    if (before !== undefined)
      await db
        .insertInto("archive_gaps")
        .values({
          ...{ id: placeOf(number, 0), epoch: before.number, after: before.position, before: null },
          ...{ reason: "epoch_changed", noticed_at: now },
        })
        .execute();
    return number;
  }

  /**
   * Leaves out events that are archived under an earlier epoch: a journal that was repaired or restored begins a new
   * epoch and still has the events of the old one, at the same positions.
   */
  async #withoutKnown(db: Transaction<Tables>, epoch: number, rows: EventRow[]): Promise<EventRow[]> {
    const [first, last] = [rows[0]?.position, rows.at(-1)?.position];
    if (epoch === 1 || first === undefined || last === undefined) return rows;
    const earlier = await db
      .selectFrom("archive_epochs")
      .select("number")
      .where("number", "<", epoch)
      .where("position", ">=", first)
      .execute();
    const known = new Map<number, Pick<EventRow, "time" | "body">[]>();
    for (const { number } of earlier) {
      const found = await db
        .selectFrom("archive_events")
        .select(["position", "time", "body"])
        .where("id", ">=", placeOf(number, first))
        .where("id", "<=", placeOf(number, last))
        .execute();
      for (const { position, ...row } of found) known.set(position, [...(known.get(position) ?? []), row]);
    }
    return rows.filter(
      ({ position, time, body }) => !known.get(position)?.some((row) => row.time === time && row.body === body),
    );
  }

  async #insertAll(db: Transaction<Tables>, rows: readonly EventRow[]): Promise<void> {
    let from = 0;
    for (const size of EVENTS_PER_INSERT)
      for (; rows.length - from >= size; from += size) await this.#insert(db, rows.slice(from, from + size));
  }

  async #insert(db: Transaction<Tables>, rows: readonly EventRow[]): Promise<void> {
    const parameters: unknown[] = [];
    for (const row of rows) for (const column of COLUMNS) parameters.push(row[column]);
    await db.executeQuery(CompiledQuery.raw(this.#insertText(rows), parameters));
  }

  /** Building a statement of 1,400 parameters takes longer than running it, so its text is kept. */
  #insertText(rows: readonly EventRow[]): string {
    const known = this.#inserts.get(rows.length);
    if (known !== undefined) return known;
    const values = rows.map((row) => Object.fromEntries(COLUMNS.map((column) => [column, row[column]])) as never);
    const { sql: text } = this.#db.insertInto("archive_events").values(values).compile();
    this.#inserts.set(rows.length, text);
    return text;
  }
}

async function newestEpoch(db: Kysely<Tables>): Promise<EpochRow | undefined> {
  return await db.selectFrom("archive_epochs").selectAll().orderBy("number", "desc").limit(1).executeTakeFirst();
}

async function notePeriods(db: Transaction<Tables>, rows: readonly EventRow[]): Promise<void> {
  const periods = new Map<number, { first: number; last: number }>();
  for (const { id, time } of rows) {
    const period = Math.floor(time / PERIOD_MS);
    const known = periods.get(period);
    if (known === undefined) periods.set(period, { first: id, last: id });
    else known.last = id;
  }
  for (const [period, { first, last }] of periods)
    await db
      .insertInto("archive_periods")
      .values({ period, first_id: first, last_id: last })
      .onConflict((conflict) =>
        conflict.column("period").doUpdateSet({
          first_id: sql`case when excluded.first_id < archive_periods.first_id then excluded.first_id else archive_periods.first_id end`,
          last_id: sql`case when excluded.last_id > archive_periods.last_id then excluded.last_id else archive_periods.last_id end`,
        }),
      )
      .execute();
}

import { type Kysely, type Migration, sql } from "kysely";

/** The engines of the archive. */
export type Engine = "sqlite" | "postgres";

/** The expression of the full-text index of PostgreSQL. The words are split already, so its parser is not used. */
export const POSTGRES_WORDS = sql.raw("array_to_tsvector(string_to_array(words, ' '))");

/** All changes of the schema, in order of their names. Each runs once for a database. */
export function migrationsOf(engine: Engine): Record<string, Migration> {
  return {
    "001-events": { up: (db) => createTables(db, engine) },
    "002-event-ids": { up: createIdIndex },
  };
}

async function createTables(db: Kysely<unknown>, engine: Engine): Promise<void> {
  // In SQLite, the rows are stored in the order of the primary key only if its type is `integer`.
  const big = engine === "sqlite" ? "integer" : "bigint";
  await db.schema
    .createTable("archive_events")
    .addColumn("id", big, (column) => column.primaryKey().notNull())
    .addColumn("epoch", "integer", (column) => column.notNull())
    .addColumn("position", big, (column) => column.notNull())
    .addColumn("time", big, (column) => column.notNull())
    .addColumn("sent_at", big)
    .addColumn("kind", "text", (column) => column.notNull())
    .addColumn("event", "text", (column) => column.notNull())
    .addColumn("camera", "text")
    .addColumn("channels", "text", (column) => column.notNull())
    .addColumn("reach", "integer", (column) => column.notNull())
    .addColumn("event_id", "text")
    .addColumn("subject", "text")
    .addColumn("words", "text", (column) => column.notNull())
    .addColumn("body", "text", (column) => column.notNull())
    .execute();
  for (const columns of [["camera"], ["camera", "event"], ["event"], ["kind"]])
    await db.schema
      .createIndex(`archive_events_${columns.join("_")}`)
      .on("archive_events")
      .columns([...columns, "id"])
      .execute();
  await sql`create index archive_events_subject on archive_events (subject, id) where subject is not null`.execute(db);
  await db.schema
    .createTable("archive_epochs")
    .addColumn("number", "integer", (column) => column.primaryKey().notNull())
    .addColumn("name", "text", (column) => column.notNull().unique())
    .addColumn("position", big, (column) => column.notNull())
    .addColumn("began_at", big, (column) => column.notNull())
    .execute();
  await db.schema
    .createTable("archive_gaps")
    .addColumn("id", big, (column) => column.notNull())
    .addColumn("epoch", "integer", (column) => column.notNull())
    .addColumn("after", big, (column) => column.notNull())
    .addColumn("before", big)
    .addColumn("reason", "text", (column) => column.notNull())
    .addColumn("noticed_at", big, (column) => column.notNull())
    .addPrimaryKeyConstraint("archive_gaps_key", ["epoch", "after"])
    .execute();
  await db.schema
    .createTable("archive_periods")
    .addColumn("period", big, (column) => column.primaryKey().notNull())
    .addColumn("first_id", big, (column) => column.notNull())
    .addColumn("last_id", big, (column) => column.notNull())
    .execute();
  await createWordIndex(db, engine);
}

async function createIdIndex(db: Kysely<unknown>): Promise<void> {
  await sql`create index archive_events_event_id on archive_events (event_id, id) where event_id is not null`.execute(
    db,
  );
}

async function createWordIndex(db: Kysely<unknown>, engine: Engine): Promise<void> {
  if (engine === "postgres") {
    await sql`create index archive_events_words on archive_events using gin (${POSTGRES_WORDS}) where words <> ''`.execute(
      db,
    );
    return;
  }
  // The index reads the words from the events, so it stores no text. `detail=none`: only whole words are looked up.
  await sql`create virtual table archive_words using fts5(words, content='archive_events', content_rowid='id',
    detail=none, tokenize='unicode61')`.execute(db);
  await sql`create trigger archive_words_insert after insert on archive_events when new.words <> '' begin
    insert into archive_words(rowid, words) values (new.id, new.words);
  end`.execute(db);
  await sql`create trigger archive_words_delete after delete on archive_events when old.words <> '' begin
    insert into archive_words(archive_words, rowid, words) values ('delete', old.id, old.words);
  end`.execute(db);
}

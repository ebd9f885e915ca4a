import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { type ArchiveDatabase, openArchiveDatabase } from "../../../../bridge/journal/archive/database.ts";
import { postgresDialect } from "../../../../bridge/journal/archive/postgres.ts";
import { sqliteDialect } from "../../../../bridge/journal/archive/sqlite.ts";
import type { ArchivePlace } from "../../../../bridge/journal/archive/worker-messages.ts";
import { topicTree } from "../../../../contract/topics.ts";
import { type PostgresServer, startPostgres } from "../../../support/postgres.ts";

/** A database for archives. */
export interface TestPlace {
  place: ArchivePlace;
  /** Opens the archive in this process. */
  open(): Promise<ArchiveDatabase>;
  /** Runs a query, as another program would. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into rows column by column
  rows(sql: string): Promise<any[]>;
  /** Removes everything. */
  remove(): Promise<void>;
  /** Undefined for SQLite. */
  server: PostgresServer | undefined;
}

export const PLACES: readonly (readonly [name: string, create: () => Promise<TestPlace>])[] = [
  ["SQLite", createSqlite],
  ["PostgreSQL", createPostgres],
];

async function createSqlite(): Promise<TestPlace> {
  const folder = await mkdtemp(join(tmpdir(), "archive-"));
  const path = join(folder, "archive.db");
  const { default: Database } = await import("libsql");
  return {
    place: { path },
    server: undefined,
    open: () => openArchiveDatabase({ dialect: sqliteDialect(path), engine: "sqlite", tree: topicTree() }),
    async rows(sql) {
      const database = new Database(path, { timeout: 5_000 });
      try {
        return database.prepare(sql).all([]);
      } finally {
        database.close();
      }
    },
    remove: () => rm(folder, { recursive: true }),
  };
}

export async function createPostgres(): Promise<TestPlace> {
  const server = await startPostgres();
  const { url } = server;
  return {
    place: { url },
    server,
    open: () =>
      openArchiveDatabase({ dialect: postgresDialect(url, () => undefined), engine: "postgres", tree: topicTree() }),
    async rows(sql) {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      try {
        return (await client.query(sql)).rows;
      } finally {
        await client.end();
      }
    },
    remove: () => server.remove(),
  };
}

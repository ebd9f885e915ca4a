import { type Dialect, PostgresDialect } from "kysely";
import pg from "pg";

const CONNECT_TIMEOUT_MS = 5_000;
/**
 * Every statement of the archive takes less time than this. After this time, the server counts as frozen, and the
 * statement fails.
 */
const QUERY_TIMEOUT_MS = 60_000;
const BIGINT = 20;

/** @param onError called when an idle connection breaks */
export function postgresDialect(url: string, onError: (error: Error) => void): Dialect {
  const pool = new pg.Pool({
    connectionString: url,
    application_name: "skylapse-archive",
    max: 4,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: QUERY_TIMEOUT_MS,
    keepAlive: true,
    types: {
      // A `bigint` is read as a number: all numbers in the archive are below 2^53.
      getTypeParser: (oid: number, format?: "text" | "binary") =>
        oid === BIGINT ? Number : pg.types.getTypeParser(oid, format ?? "text"),
    },
  });
  pool.on("error", onError);
  return new PostgresDialect({ pool });
}

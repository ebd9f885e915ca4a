import { type Kysely, type RawBuilder, sql } from "kysely";
import { jsonOf, MEASURES, type SeriesField } from "./measures.ts";
import type { Engine } from "./migrations.ts";
import { placesBetween } from "./periods.ts";
import { CAMERA_REACH } from "./rows.ts";
import type { Tables } from "./tables.ts";

export interface ReadingsQuery {
  camera: string;
  fields: readonly SeriesField[];
  /** The times of measurement, milliseconds since 1970: `from` inclusive, `to` exclusive. */
  from: number;
  to: number;
  bucketMs: number;
  /** Only events that were accepted in this time: inclusive, exclusive. */
  acceptedFrom: number;
  acceptedTo: number;
}

/** The readings of one field in one bucket. */
export interface Bucket {
  field: SeriesField;
  /** Counts from 0 at `from`. */
  bucket: number;
  min: number;
  max: number;
  sum: number;
  count: number;
}

/** Longer pauses between captures are no intervals, unless the interval before was as long: a camera rests at night. */
const MAX_INTERVAL_MS = 3_600_000;
const MAX_INTERVAL_GROWTH = 4;

/**
 * Reads the measurements of a camera, reduced to buckets. A measurement counts at the sender's time, so that a backlog
 * lies where it belongs; a sender's clock that is ahead counts at the time of acceptance.
 */
export async function readReadings(db: Kysely<Tables>, engine: Engine, query: ReadingsQuery): Promise<Bucket[]> {
  const places = await placesBetween(db, query.acceptedFrom, query.acceptedTo - 1);
  if (places === undefined) return [];
  const byEvent = new Map<string, SeriesField[]>();
  for (const field of query.fields) {
    const event = MEASURES[field]?.event;
    if (event !== undefined) byEvent.set(event, [...(byEvent.get(event) ?? []), field]);
  }
  const found: Bucket[] = [];
  for (const [event, fields] of byEvent) {
    const { rows } = await bucketsQuery(engine, { ...query, ...places, event, fields }).execute(db);
    for (const row of rows)
      for (const [index, field] of fields.entries()) {
        const [min, max, sum, count] = ["min", "max", "sum", "count"].map((name) => row[`${name}${index}`] ?? 0);
        if (min === undefined || max === undefined || sum === undefined || !count) continue;
        found.push({ field, bucket: row.bucket ?? 0, min, max, sum, count });
      }
  }
  return found;
}

type BucketsQuery = ReadingsQuery & { event: string; first: number; last: number };

/** Exported for the benchmark, which prints its plan. */
export function bucketsQuery(engine: Engine, query: BucketsQuery): RawBuilder<Record<string, number | null>> {
  const { fields, from, to, bucketMs, acceptedFrom, acceptedTo } = query;
  const columns = fields.map((_, index) => {
    const value = sql.ref(`value${index}`);
    const names = ["min", "max", "sum", "count"].map((name) => sql.raw(`${name}${index}`));
    return sql`min(${value}) as ${names[0]}, max(${value}) as ${names[1]}, sum(${value}) as ${names[2]}, count(${value}) as ${names[3]}`;
  });
  const bucket = sql`cast((at - ${sql.lit(from)}) / ${sql.lit(bucketMs)} as ${sql.raw(engine === "sqlite" ? "integer" : "bigint")})`;
  // `offset 0` keeps the planner from merging the two queries: it would read each value from its JSON four times.
  return sql`select ${bucket} as bucket, ${sql.join(columns)} from (${readingsOf(engine, query)} limit ${sql.raw(engine === "sqlite" ? "-1" : "all")} offset 0) as readings
    where time >= ${sql.lit(acceptedFrom)} and time < ${sql.lit(acceptedTo)}
    and at >= ${sql.lit(from)} and at < ${sql.lit(to)} group by 1`;
}

/** Only events of the camera itself, not those of others that name the camera. */
const OWN = sql`(reach & ${sql.lit(CAMERA_REACH)}) <> 0`;
const AT = sql`case when sent_at is null or sent_at > time then time else sent_at end as at`;

/** One row for each event: its time of acceptance, its time of measurement `at`, and its values. */
function readingsOf(engine: Engine, { fields, camera, event, first, last }: BucketsQuery) {
  const json = jsonOf(engine);
  const values = fields.map((field, index) => {
    const value = MEASURES[field]?.value?.(json) ?? sql`${INTERVAL}`;
    return sql`cast(${value} as double precision) as ${sql.raw(`value${index}`)}`;
  });
  const events = (begin: RawBuilder<unknown>) =>
    sql`from archive_events where camera = ${camera} and event = ${event} and id >= ${begin} and id <= ${sql.lit(last)} and ${OWN}`;
  if (!fields.includes("capture_interval"))
    return sql`select time, ${AT}, ${sql.join(values)} ${events(sql.lit(first))}`;
  // Two events before the first one tell its interval, and the interval before that.
  const begin = sql`coalesce((select id from archive_events where camera = ${camera} and event = ${event}
    and id < ${sql.lit(first)} order by id desc limit 1 offset 1), ${sql.lit(first)})`;
  const timed = sql`select time, body, ${AT} ${events(begin)}`;
  const apart = sql`select time, body, at, at - lag(at) over (order by at) as apart from (${timed}) as timed`;
  const both = sql`select time, body, at, apart, lag(apart) over (order by at) as before from (${apart}) as apart`;
  return sql`select time, at, ${sql.join(values)} from (${both}) as captures`;
}

const INTERVAL = sql`case when apart > 0 and (apart <= ${sql.lit(MAX_INTERVAL_MS)} or apart <= ${sql.lit(MAX_INTERVAL_GROWTH)} * before) then apart / 1000.0 end`;

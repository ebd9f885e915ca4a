import { type RawBuilder, sql } from "kysely";
import type { Engine } from "./migrations.ts";

/** The fields that can be read as a series over time. */
export const SERIES_FIELDS = [
  ...["temperature", "humidity", "storage", "battery", "solar", "exposure", "capture_interval", "link_quality"],
] as const;
export type SeriesField = (typeof SERIES_FIELDS)[number];

/** `link_quality` is no reading of an event: it is computed from how long the camera was connected. */
export const LINK_QUALITY = "link_quality";

export const UNITS: Readonly<Record<SeriesField, string>> = {
  temperature: "°C",
  humidity: "%",
  storage: "%",
  battery: "%",
  solar: "%",
  exposure: "s",
  capture_interval: "s",
  link_quality: "%",
};

/** An expression for a number in an event, or null. */
type Value = RawBuilder<number | null>;

interface Measure {
  event: string;
  /** Undefined for `capture_interval`, which needs the neighbouring events. */
  value?: (json: JsonIn) => Value;
}

export const MEASURES: Readonly<Partial<Record<SeriesField, Measure>>> = {
  temperature: { event: "environmental.update", value: (json) => json.number("temperature_c") },
  humidity: { event: "environmental.update", value: (json) => json.number("humidity_percent") },
  /** The used share of the disk. */
  storage: { event: "resource.update", value: storageShare },
  battery: { event: "resource.update", value: (json) => json.number("battery_percent") },
  /** The share of the reports of the power supply that name the sun as the source. */
  solar: { event: "resource.update", value: solarShare },
  exposure: { event: "capture.completed", value: (json) => json.number("settings", "exposure_s") },
  capture_interval: { event: "capture.completed" },
};

function storageShare(json: JsonIn): Value {
  const [total, free] = [json.number("total_bytes"), json.number("free_bytes")];
  return sql`case when ${total} > 0 then 100.0 * (${total} - ${free}) / ${total} end`;
}

function solarShare(json: JsonIn): Value {
  const source = json.text("source");
  return sql`case when ${source} = 'solar' then 100 when ${source} in ('mains', 'battery') then 0 end`;
}

/** Reads values in the `data` of an event's body by SQL. A value of another type, or none, is null. */
interface JsonIn {
  number(...path: string[]): Value;
  text(...path: string[]): RawBuilder<string | null>;
}

/** Other numbers, such as `1e999`, are no measurements. */
const MAX_NUMBER = 1e15;

const SQLITE: JsonIn = {
  number(...path) {
    const at = sqlitePath(path);
    const value = sql`json_extract(body, ${at})`;
    return sql`case when json_type(body, ${at}) in ('integer', 'real') and abs(${value}) < ${sql.lit(MAX_NUMBER)} then ${value} end`;
  },
  text: (...path) => sql`json_extract(body, ${sqlitePath(path)})`,
};

const sqlitePath = (path: readonly string[]) => sql.lit(["$.data", ...path].join("."));

/**
 * PostgreSQL cannot read a JSON text with an escaped NUL or half of a surrogate pair, even to get another value of it.
 * `\n` in place of the escape is valid wherever the escape was, also in `\\u0000`.
 */
const READABLE = sql.raw(
  String.raw`(case when body ~* '\\u(0000|d[89a-f])' then regexp_replace(body, '\\u(0000|d[89a-f][0-9a-f]{2})', '\\n', 'gi') else body end)::json`,
);
/** At most 15 digits before the point, so that the value fits into a double. A text has quotes, and does not match. */
const POSTGRES_NUMBER = sql.raw(String.raw`'^-?\d{1,15}(?:\.\d+)?(?:[eE][-+]?\d{1,2})?$'`);

const POSTGRES: JsonIn = {
  number: (...path) =>
    sql`substring((${READABLE} #> ${postgresPath(path)})::text from ${POSTGRES_NUMBER})::double precision`,
  text: (...path) => sql`${READABLE} #>> ${postgresPath(path)}`,
};

const postgresPath = (path: readonly string[]) => sql.raw(`'{${["data", ...path].join(",")}}'`);

export function jsonOf(engine: Engine): JsonIn {
  return engine === "sqlite" ? SQLITE : POSTGRES;
}

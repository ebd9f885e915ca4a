import type { Coverage, CoverageQuery, SeriesGap, StatusChange } from "./coverage.ts";
import { LINK_QUALITY, type SeriesField } from "./measures.ts";
import type { Bucket, ReadingsQuery } from "./readings.ts";
import { PERIOD_MS } from "./tables.ts";

export interface SeriesQuery {
  camera: string;
  fields: readonly SeriesField[];
  /** The times of measurement, milliseconds since 1970: `from` inclusive, `to` exclusive. */
  from: number;
  to: number;
  /** The largest number of points of a field. */
  points: number;
}

export interface SeriesPoint {
  /** The begin of the bucket, milliseconds since 1970. */
  at: number;
  min: number;
  mean: number;
  max: number;
}

export interface Series {
  bucketMs: number;
  /** Oldest first. A bucket without measurements has no point. */
  points: ReadonlyMap<SeriesField, SeriesPoint[]>;
  gaps: readonly SeriesGap[];
}

export interface SeriesSource {
  readings(query: ReadingsQuery): Promise<Bucket[]>;
  coverage(query: CoverageQuery): Promise<Coverage>;
}

/** A camera's backlog arrives at most this long after it was measured, or it is not in the series. */
export const MAX_BACKLOG_MS = 7 * 86_400_000;
const MIN_BUCKET_MS = 1_000;
const FIRST_SLICE_MS = 3_600_000;
/** A quiet time must not make the slice so long that the busy time after it is one query. */
const MAX_SLICE_MS = 7 * 86_400_000;
/** One query of the archive shall take about this long, so that the queries of others need not wait. */
const SLICE_TARGET_MS = 100;

/**
 * Reads a series in slices of the time of acceptance. Each slice is one query, and finds each event once.
 * @param now milliseconds since 1970
 */
export async function readSeries(source: SeriesSource, query: SeriesQuery, now: number): Promise<Series> {
  const { camera, fields, from, to, points } = query;
  const bucketMs = Math.max(MIN_BUCKET_MS, Math.ceil((to - from) / points));
  const { gaps, statuses } = await source.coverage({ camera, from, to });
  const sums = new Map<SeriesField, Map<number, Omit<Bucket, "field" | "bucket">>>();
  const read = fields.filter((field) => field !== LINK_QUALITY);
  const end = Math.min(to + MAX_BACKLOG_MS, Math.max(to, now));
  let sliceMs = FIRST_SLICE_MS;
  for (let begin = from; begin < end && read.length > 0; ) {
    const next = Math.min(end, Math.floor((begin + sliceMs) / PERIOD_MS) * PERIOD_MS);
    const started = performance.now();
    const slice = { camera, fields: read, from, to, bucketMs, acceptedFrom: begin, acceptedTo: next };
    for (const bucket of await source.readings(slice)) addTo(sums, bucket);
    const tookMs = performance.now() - started;
    if (tookMs < SLICE_TARGET_MS / 2) sliceMs = Math.min(MAX_SLICE_MS, sliceMs * 2);
    else if (tookMs > 2 * SLICE_TARGET_MS) sliceMs = Math.max(PERIOD_MS, sliceMs / 2);
    begin = next;
  }
  const found = new Map<SeriesField, SeriesPoint[]>();
  for (const field of fields)
    found.set(
      field,
      field === LINK_QUALITY
        ? connectedShares(statuses, { from, to: Math.min(to, now), bucketMs })
        : pointsOf(sums.get(field) ?? new Map(), { from, bucketMs }),
    );
  return { bucketMs, points: found, gaps: withoutBacklog(gaps, found) };
}

/** A backlog has measurements from before the first event that the archive accepted. */
function withoutBacklog(gaps: readonly SeriesGap[], points: ReadonlyMap<SeriesField, SeriesPoint[]>): SeriesGap[] {
  const first = Math.min(...[...points.values()].map((each) => each[0]?.at ?? Number.POSITIVE_INFINITY));
  return gaps.flatMap((gap) => {
    if (gap.reason !== "not_kept" || first >= (gap.to ?? Number.POSITIVE_INFINITY)) return gap;
    return first > gap.from ? { ...gap, to: first } : [];
  });
}

function addTo(sums: Map<SeriesField, Map<number, Omit<Bucket, "field" | "bucket">>>, found: Bucket): void {
  const { field, bucket, ...given } = found;
  const ofField = sums.get(field) ?? new Map<number, Omit<Bucket, "field" | "bucket">>();
  sums.set(field, ofField);
  const known = ofField.get(bucket);
  if (known === undefined) ofField.set(bucket, given);
  else
    ofField.set(bucket, {
      min: Math.min(known.min, given.min),
      max: Math.max(known.max, given.max),
      sum: known.sum + given.sum,
      count: known.count + given.count,
    });
}

function pointsOf(
  buckets: ReadonlyMap<number, Omit<Bucket, "field" | "bucket">>,
  { from, bucketMs }: { from: number; bucketMs: number },
): SeriesPoint[] {
  return [...buckets]
    .sort(([one], [other]) => one - other)
    .map(([bucket, { min, max, sum, count }]) => ({ at: from + bucket * bucketMs, min, mean: sum / count, max }));
}

/** A sleep is planned, and before the first status nothing is known: these times count neither for nor against the link. */
const COUNTED: Readonly<Record<string, boolean>> = { online: true, stale: true, offline: false, overslept: false };

/** The percentage of the counted time of each bucket in which the camera was connected. */
export function connectedShares(
  statuses: readonly StatusChange[],
  { from, to, bucketMs }: { from: number; to: number; bucketMs: number },
): SeriesPoint[] {
  const counted = new Map<number, { connectedMs: number; totalMs: number }>();
  // `offline` begins when the link broke, before it was noticed.
  const ordered = statuses.map(({ at, status }) => ({ at, isConnected: COUNTED[status] }));
  for (const [index, { at, isConnected }] of ordered.entries()) {
    if (isConnected === undefined) continue;
    const until = Math.min(to, ordered[index + 1]?.at ?? to);
    for (let begin = Math.max(at, from); begin < until; ) {
      const bucket = Math.floor((begin - from) / bucketMs);
      const end = Math.min(until, from + (bucket + 1) * bucketMs);
      const { connectedMs, totalMs } = counted.get(bucket) ?? { connectedMs: 0, totalMs: 0 };
      counted.set(bucket, {
        connectedMs: connectedMs + (isConnected ? end - begin : 0),
        totalMs: totalMs + end - begin,
      });
      begin = end;
    }
  }
  return [...counted]
    .sort(([one], [other]) => one - other)
    .map(([bucket, { connectedMs, totalMs }]) => {
      const share = (100 * connectedMs) / totalMs;
      return { at: from + bucket * bucketMs, min: share, mean: share, max: share };
    });
}

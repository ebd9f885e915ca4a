import type { ApiClient } from "../../../api/api-client.ts";

/** The measurements of a field. All lists have the same length, oldest first. */
export interface Columns {
  /** Seconds since 1970. */
  at: readonly number[];
  min: readonly number[];
  mean: readonly number[];
  max: readonly number[];
}

export interface Gap {
  /** Seconds since 1970. */
  from: number;
  to: number;
  reason: string;
  count: number | undefined;
}

export interface CameraSeries {
  /** Seconds since 1970. */
  from: number;
  to: number;
  fields: ReadonlyMap<string, Columns>;
  gaps: readonly Gap[];
}

/** @param points the most points of a field */
export async function requestSeries(
  api: ApiClient,
  query: { camera: string; from: number; to: number; points: number },
  signal: AbortSignal,
): Promise<CameraSeries> {
  const [from, to] = [new Date(query.from).toISOString(), new Date(query.to).toISOString()];
  const search = new URLSearchParams({ from, to, points: String(query.points) });
  const answer = Object(await api.request(`cameras/${query.camera}/series?${search}`, { signal }));
  const fields = Object.entries(Object(answer.series)).map(([field, columns]) => [field, columnsOf(columns)] as const);
  const gaps: unknown[] = Array.isArray(answer.gaps) ? answer.gaps : [];
  return {
    ...{ from: query.from / 1000, to: query.to / 1000, fields: new Map(fields) },
    gaps: gaps.map((gap) => gapOf(Object(gap), query)),
  };
}

function columnsOf(columns: unknown): Columns {
  const { at, min, mean, max } = Object(columns) as Record<string, unknown>;
  return { at: numbersOf(at), min: numbersOf(min), mean: numbersOf(mean), max: numbersOf(max) };
}

function numbersOf(list: unknown): number[] {
  return Array.isArray(list) ? list.filter((value) => typeof value === "number") : [];
}

function gapOf(gap: Record<string, unknown>, range: { from: number; to: number }): Gap {
  const seconds = (time: unknown, other: number): number => {
    const at = typeof time === "string" ? Date.parse(time) : other;
    return Math.min(range.to, Math.max(range.from, at)) / 1000;
  };
  return {
    ...{ from: seconds(gap.from, range.from), to: seconds(gap.to, range.to) },
    reason: typeof gap.reason === "string" ? gap.reason : "",
    count: typeof gap.count === "number" ? gap.count : undefined,
  };
}

/** Adds an empty point in each gap between two points, so that no line is drawn over the gap. */
export function withBreaks({ at, min, mean, max }: Columns, gaps: readonly Gap[]) {
  const lines: [x: number[], ...values: (number | null)[][]] = [[], [], [], []];
  const [x, lows, means, highs] = lines;
  for (const [index, time] of at.entries()) {
    const before = at[index - 1];
    const gap = before === undefined ? undefined : gaps.find(({ from, to }) => from < time && to > before);
    if (gap !== undefined && before !== undefined) {
      x.push((before + time) / 2);
      for (const values of [lows, means, highs]) values?.push(null);
    }
    x.push(time);
    lows?.push(min[index] ?? null);
    means?.push(mean[index] ?? null);
    highs?.push(max[index] ?? null);
  }
  return lines;
}

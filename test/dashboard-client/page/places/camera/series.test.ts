import { expect, it } from "vitest";
import type { ApiClient } from "../../../../../dashboard-client/page/api/api-client.ts";
import { requestSeries, withBreaks } from "../../../../../dashboard-client/page/places/camera/charts/series.ts";

const HOUR_MS = 3_600_000;
const FROM = Date.parse("2026-03-01T00:00:00Z");
const at = (hours: number) => FROM / 1000 + hours * 3600;
const timeOf = (hours: number) => new Date(FROM + hours * HOUR_MS).toISOString();

it("draws no line over a gap between two points, and keeps the line where nothing is missing", () => {
  const values = [1, 2, 3, 4];
  const columns = { at: [0, 1, 5, 6].map(at), min: values, mean: values, max: values };
  const gap = { from: at(2), to: at(4), reason: "offline", count: 7 };
  const [times, ...lines] = withBreaks(columns, [gap]);
  expect(times).toEqual([0, 1, 3, 5, 6].map(at));
  expect(lines).toEqual(Array(3).fill([1, 2, null, 3, 4]));
  // Gaps before the first point, after the last one, and up to a point.
  const outside = [
    { ...gap, from: at(-2), to: at(0) },
    { ...gap, from: at(6), to: at(9) },
  ];
  expect(withBreaks(columns, outside)[0]).toEqual(columns.at);
});

it("cuts the gaps of the server's answer to the range of the chart", async () => {
  const gaps = [
    { from: timeOf(-5), to: timeOf(1), reason: "before_archive" },
    { from: timeOf(2), to: timeOf(3), reason: "lost", count: 12 },
    { from: timeOf(23), reason: "offline" },
  ];
  const api = { request: async () => ({ series: {}, gaps }) } as unknown as ApiClient;
  const query = { camera: "north", from: FROM, to: FROM + 24 * HOUR_MS, points: 100 };
  const answer = await requestSeries(api, query, AbortSignal.timeout(1000));
  expect(answer.gaps).toEqual([
    { from: at(0), to: at(1), reason: "before_archive", count: undefined },
    { from: at(2), to: at(3), reason: "lost", count: 12 },
    { from: at(23), to: at(24), reason: "offline", count: undefined },
  ]);
});

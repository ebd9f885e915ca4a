import { describe, expect, it } from "vitest";
import { qualityOf } from "../../../dashboard-client/client/connection-quality.ts";
import {
  formatAge,
  formatAzimuth,
  formatBytes,
  formatDuration,
  formatExposure,
  formatLatency,
  formatMinute,
  formatTime,
} from "../../../dashboard-client/page/text/format.ts";

const NOW = Date.parse("2026-03-12T13:10:00.000Z");

describe("the formats", () => {
  it.each([
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.0 kB"],
    [999_940, "999.9 kB"],
    [999_960, "1.0 MB"],
    [5_213_000, "5.2 MB"],
    [38_200_000_000, "38.2 GB"],
    [2_000_000_000_000_000_000, "2,000.0 PB"],
    [-1, "–"],
    [Number.NaN, "–"],
  ])("write %d bytes as %s", (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  it.each([
    [-5, "0 s"],
    [59_999, "59 s"],
    [60_000, "1 min"],
    [3_600_000, "1 h 00 min"],
    [7_500_000, "2 h 05 min"],
    [2 * 86_400_000, "2 days"],
  ])("write %d ms as %s", (ms, text) => expect(formatDuration(ms)).toBe(text));

  it.each([
    ["2026-03-12T13:09:58.000Z", "just now"],
    ["2026-03-12T13:10:20.000Z", "just now"],
    ["2026-03-12T13:09:40.000Z", "20 s ago"],
    ["2026-03-12T13:15:00.000Z", "5 min in the future"],
    ["nonsense", "at an unknown time"],
  ])("write the age of %s as %s", (at, text) => expect(formatAge(at, NOW)).toBe(text));

  it("write times in the camera's time zone, with the zone's name, and with the date unless the date is today", () => {
    expect(formatTime("2026-03-12T13:02:31.000Z", "Europe/Zurich", NOW)).toBe("14:02:31 CET");
    expect(formatTime("2026-03-11T23:30:00.000Z", "Europe/Zurich", NOW)).toBe("00:30:00 CET");
    expect(formatTime("2026-03-11T22:30:00.000Z", "Europe/Zurich", NOW)).toBe("11 Mar, 23:30:00 CET");
    expect(formatMinute("2026-07-12T13:02:31.000Z", "Europe/Zurich", NOW)).toBe("12 Jul, 15:02 CEST");
    expect(formatMinute("2026-03-12T13:02:31.000Z", "Asia/Kathmandu", NOW)).toBe("18:47 GMT+5:45");
  });

  it("write times in UTC, with its name, if the time zone is unknown", () => {
    expect(formatTime("2026-03-12T13:02:31.000Z", "Mountain/Top", NOW)).toBe("13:02:31 UTC");
    expect(formatTime("nonsense", "UTC", NOW)).toBe("unknown time");
  });

  it("write shutter times, directions and latencies", () => {
    expect([0.004, 0.5, 2].map(formatExposure)).toEqual(["1/250 s", "0.5 s", "2 s"]);
    expect([0, 143, 359.7, -90].map(formatAzimuth)).toEqual(["0° N", "143° SE", "0° N", "270° W"]);
    expect([0.2, 24.4, 1240].map(formatLatency)).toEqual(["1 ms", "24 ms", "1.2 s"]);
  });

  it("derive the quality of a connection from its latency", () => {
    expect([undefined, 99, 100, 299, 300, 999, 1000].map(qualityOf)).toEqual([
      ...["unknown", "excellent", "good", "good", "fair", "fair", "poor"],
    ]);
  });
});

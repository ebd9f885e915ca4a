import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { ArchiveDatabase } from "../../../../bridge/journal/archive/database.ts";
import type { SeriesField } from "../../../../bridge/journal/archive/measures.ts";
import type { ArchivedEntry } from "../../../../bridge/journal/archive/rows.ts";
import { connectedShares, readSeries, type SeriesQuery } from "../../../../bridge/journal/archive/series.ts";
import { PLACES, type TestPlace } from "./archive-places.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const START = Date.UTC(2026, 2, 1);
const NOW = START + 2 * DAY;

type Given = Partial<ArchivedEntry> & { sentAt?: number; event: string; data: unknown; acceptedAt: number };

let positions = 0;

function entry({ event, data, acceptedAt, sentAt = acceptedAt, camera = "north", ...rest }: Given): ArchivedEntry {
  return {
    position: ++positions,
    topic: `skylapse/v1/cameras/${camera}/events/${event}`,
    channels: [`camera:${camera}`, "dashboard"],
    body: `"event":"${event}","data":${typeof data === "string" ? data : JSON.stringify(data)},"timestamp":"${new Date(sentAt).toISOString()}"`,
    ...rest,
    ...{ camera, acceptedAt },
  };
}

const environment = (acceptedAt: number, temperature_c: unknown, given: Partial<Given> = {}) =>
  entry({ event: "environmental.update", data: { temperature_c }, acceptedAt, ...given });
const power = (acceptedAt: number, source: string, battery_percent: number) =>
  entry({ event: "resource.update", data: { source, battery_percent }, acceptedAt });
const capture = (acceptedAt: number, given: Partial<Given> = {}) =>
  entry({ event: "capture.completed", data: { settings: { exposure_s: 0.01 } }, acceptedAt, ...given });
const presence = (since: number, status: string, acceptedAt = since) =>
  entry({ event: `camera.${status}`, data: { status, since: new Date(since).toISOString() }, acceptedAt });

describe.each(PLACES)("a series in %s", (_name, createPlace) => {
  let place: TestPlace;
  let archive: ArchiveDatabase;
  let camera = "";
  let cameras = 0;

  beforeAll(async () => {
    place = await createPlace();
    archive = await place.open();
  });
  afterAll(async () => {
    await archive.close();
    await place.remove();
  });
  beforeEach(() => {
    camera = `camera-${++cameras}`;
  });

  /** Archives the entries as entries of the test's own camera. */
  async function append(entries: ArchivedEntry[], given: object = {}) {
    const after = (await archive.position())?.position ?? 0;
    const renamed = entries.map((one) =>
      one.camera === "north" ? { ...one, camera, channels: [`camera:${camera}`, "dashboard"] } : one,
    );
    const next = renamed.at(-1)?.position ?? after;
    expect(await archive.append({ epoch: "one", after, next, entries: renamed, ...given })).toBe(true);
  }

  const read = (fields: SeriesField[], given: Partial<SeriesQuery> = {}) =>
    readSeries(archive, { camera, fields, from: START, to: START + DAY, points: 24, ...given }, NOW);
  const pointsOf = async (field: SeriesField, given: Partial<SeriesQuery> = {}) =>
    (await read([field], given)).points
      .get(field)
      ?.map(({ at, min, mean, max }) => [(at - START) / HOUR, min, mean, max]);

  test("has the least, mean and greatest value of each bucket, and no point without a measurement", async () => {
    await append([environment(START, 1), environment(START + MINUTE, 2.5), environment(START + 2 * MINUTE, -8)]);
    await append([environment(START + 5 * HOUR, 3), environment(START + DAY, 99), environment(START - 1, 99)]);
    expect(await pointsOf("temperature")).toEqual([
      [0, -8, -1.5, 2.5],
      [5, 3, 3, 3],
    ]);
    const { bucketMs } = await read(["temperature"], { points: 7 });
    expect(bucketMs).toBe(Math.ceil(DAY / 7));
  });

  test("counts a backlog at the time of its measurement, and a clock that is ahead at the time of acceptance", async () => {
    await append([
      environment(START + 20 * HOUR, 5, { sentAt: START + 2 * HOUR }),
      environment(START + 4 * HOUR, 6, { sentAt: START + 400 * DAY }),
      environment(START + 36 * HOUR, 7, { sentAt: START + 3 * HOUR }),
      environment(START + 37 * HOUR, 8),
    ]);
    expect(await pointsOf("temperature")).toEqual([
      [2, 5, 5, 5],
      [3, 7, 7, 7],
      [4, 6, 6, 6],
    ]);
  });

  test("finds each measurement once, however the time is cut into slices and buckets", async () => {
    const times = Array.from({ length: 300 }, (_, index) => START + index * 500_000);
    await append(times.map((time, index) => environment(time, index)));
    for (const points of [1, 7, 300]) {
      const given = { to: START + 300 * 500_000, points };
      const found = (await readSeries(archive, { camera, fields: ["temperature"], from: START, ...given }, NOW)).points;
      const all = found.get("temperature") ?? [];
      expect([all.at(0)?.min, all.at(-1)?.max, all.length]).toEqual([0, 299, points]);
    }
    const buckets = await Promise.all(
      [0, 6, 12, 18].map((hour) =>
        archive.readings({
          ...{ camera, fields: ["temperature"], from: START, to: START + DAY, bucketMs: DAY },
          ...{ acceptedFrom: START + hour * HOUR, acceptedTo: START + (hour + 6) * HOUR },
        }),
      ),
    );
    expect(buckets.flat().reduce((sum, { count }) => sum + count, 0)).toBe(173);
  });

  test("reads storage, battery and sun from one event, and leaves out values that are no numbers", async () => {
    const storage = { event: "resource.update", data: { total_bytes: 1_000, free_bytes: 250 }, acceptedAt: START };
    await append([entry(storage), entry({ ...storage, data: { total_bytes: 0, free_bytes: 0 } })]);
    await append([power(START, "solar", 80), power(START + 1, "battery", 60), power(START + 2, "solar", 70)]);
    await append([power(START + 3, "solar", 70), environment(START, "warm"), environment(START, null)]);
    const { points } = await read(["storage", "battery", "solar", "temperature", "exposure"]);
    const values = [...points].map(([field, found]) => [
      field,
      ...found.flatMap(({ min, mean, max }) => [min, mean, max]),
    ]);
    expect(values).toEqual([
      ["storage", 75, 75, 75],
      ["battery", 60, 70, 80],
      ["solar", 0, 75, 100],
      ["temperature"],
      ["exposure"],
    ]);
  });

  test("survives texts and numbers that a database cannot store", async () => {
    const data = (text: string, value = "4") => `{"note":"${text}","temperature_c":${value}}`;
    const texts = ["\\u0000", "\\ud83d", "\\\\u0000", "\\uD83D\\uDE00", "plain"];
    await append(texts.map((text, index) => environment(START + index, 0, { data: data(text) })));
    await append([environment(START + 9, 0, { data: data("plain", "1e999") })]);
    await append([environment(START + 9, 0, { data: data("plain", '"12"') })]);
    await append([entry({ event: "environmental.update", data: "null", acceptedAt: START })]);
    expect(await pointsOf("temperature", { points: 1 })).toEqual([[0, 4, 4, 4]]);
    const [bucket] = await archive.readings({
      ...{ camera, fields: ["temperature"], from: START, to: START + DAY, bucketMs: DAY },
      ...{ acceptedFrom: START, acceptedTo: START + DAY },
    });
    expect(bucket?.count).toBe(texts.length);
  });

  test("has only the measurements of the camera itself", async () => {
    await append([
      environment(START, 5, { camera: "another" }),
      // A processing service names the camera.
      { ...environment(START, 6), topic: "skylapse/v1/processing/films/events/x", channels: ["dashboard"], camera },
      environment(START, 7),
    ]);
    expect(await pointsOf("temperature")).toEqual([[0, 7, 7, 7]]);
  });

  test("tells the time between captures, also across slices, and leaves out the nights", async () => {
    const morning = START + 6 * HOUR;
    const night = [0, 30_000, 60_000, 120_000].map((ms) => capture(START - 1 * HOUR + ms));
    const day = [0, 30_000, 60_000].map((ms) => capture(morning + ms));
    await append([...night, ...day]);
    expect(await pointsOf("capture_interval", { points: 1 })).toEqual([[0, 30, 30, 30]]);
    const from = morning + 50_000;
    const slice = { camera, fields: ["capture_interval" as const], from, to: START + DAY, bucketMs: DAY };
    expect(await archive.readings({ ...slice, acceptedFrom: from, acceptedTo: START + DAY })).toMatchObject([
      { sum: 30, count: 1 },
    ]);
  });

  test("tells an interval of many hours, if the interval before was as long", async () => {
    await append([0, 12, 24, 36].map((hours) => capture(START + hours * HOUR)));
    expect(await pointsOf("capture_interval", { to: START + 2 * DAY, points: 1 })).toEqual([
      [0, 43_200, 43_200, 43_200],
    ]);
  });

  test("tells which share of the time the camera was connected", async () => {
    await append([presence(START - 5 * HOUR, "online"), presence(START + 2 * HOUR, "offline", START + 2.5 * HOUR)]);
    await append([presence(START + 4 * HOUR, "online"), presence(START + 6 * HOUR, "sleeping")]);
    const points = await pointsOf("link_quality", { points: 8 });
    expect(points?.map(([hour, , mean]) => [hour, Math.round(mean ?? 0)])).toEqual([
      [0, 67],
      [3, 67],
    ]);
  });

  test("names lost messages, archive gaps, and the time before the first event as gaps", async () => {
    const at = (hours: number) => new Date(START + hours * HOUR).toISOString();
    const lost = (from: number, to: number, given: object = {}) =>
      entry({
        ...{ event: "link.gap", acceptedAt: START + 20 * HOUR },
        data: {
          reason: "missing",
          count: 3,
          from: at(from),
          to: at(to),
          first_seq: from,
          last_seq: from + 2,
          ...given,
        },
      });
    await append([environment(START + HOUR, 1), environment(START + 9 * HOUR, 1)]);
    const { position = 0 } = (await archive.position()) ?? {};
    positions += 10;
    await append([environment(START + 12 * HOUR, 1)], {
      gap: { after: position, before: position + 11, reason: "trimmed" },
    });
    await append([lost(2, 3), lost(4, 5), lost(4, 5, { filled: true }), lost(30, 31)]);
    const { gaps } = await read(["temperature"]);
    expect(gaps).toEqual([
      { from: START, to: START + HOUR, reason: "not_kept" },
      { from: START + 2 * HOUR, to: START + 3 * HOUR, reason: "missing", count: 3 },
      { from: START + 9 * HOUR, to: START + 12 * HOUR, reason: "trimmed", count: 10 },
    ]);
  });

  test("ends the time before the first event at the first measurement of a backlog", async () => {
    await append([environment(START + 9 * HOUR, 1, { sentAt: START + 5 * HOUR })]);
    const { gaps } = await read(["temperature"]);
    expect(gaps).toContainEqual({ from: START, to: START + 5 * HOUR, reason: "not_kept" });
  });

  test("of a camera without events is one gap", async () => {
    const { points, gaps } = await read(["temperature", "link_quality"]);
    expect([...points]).toEqual([
      ["temperature", []],
      ["link_quality", []],
    ]);
    expect(gaps).toContainEqual({ from: START, reason: "not_kept" });
  });
});

test("the share of the connected time counts no time before the first status, and none after now", () => {
  const shares = connectedShares(
    [
      { at: 25, status: "online" },
      { at: 35, status: "offline" },
    ],
    { from: 0, to: 45, bucketMs: 10 },
  );
  expect(shares.map(({ at, mean }) => [at, mean])).toEqual([
    [20, 100],
    [30, 50],
    [40, 0],
  ]);
});

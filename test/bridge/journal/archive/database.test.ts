import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { ArchiveAccess } from "../../../../bridge/journal/archive/access.ts";
import type { ArchiveDatabase } from "../../../../bridge/journal/archive/database.ts";
import type { ArchiveQuery } from "../../../../bridge/journal/archive/pages.ts";
import type { ArchivedEntry } from "../../../../bridge/journal/archive/rows.ts";
import { searchWordsOf } from "../../../../bridge/journal/archive/words.ts";
import { range } from "../messages.ts";
import { PLACES, type TestPlace } from "./archive-places.ts";

const DAY_MS = 86_400_000;
const START = Date.UTC(2026, 2, 1);
const ROOT = "skylapse/v1";

let count = 0;

function entry(
  position: number,
  given: Partial<ArchivedEntry> & { data?: unknown; event?: string } = {},
): ArchivedEntry {
  const { camera = "north", data = { n: position }, event = "capture.completed", ...rest } = given;
  const acceptedAt = given.acceptedAt ?? START + position * 1_000;
  return {
    position,
    topic: `${ROOT}/cameras/${camera}/events/${event}`,
    channels: [`camera:${camera}`, "dashboard"],
    body: `"event":"${event}","data":${JSON.stringify(data)},"timestamp":"${new Date(acceptedAt - 500).toISOString()}","id":"e${++count}"`,
    ...rest,
    ...{ camera, acceptedAt },
  };
}

/** An entry of a job, which names a camera or none. */
function job(position: number, camera: string | undefined, data: object = {}): ArchivedEntry {
  const made = entry(position, { event: "job.completed", data, topic: `${ROOT}/processing/films/jobs/j${position}` });
  return { ...made, channels: ["jobs", "dashboard"], camera };
}

describe.each(PLACES)("the archive in %s", (_name, createPlace) => {
  let place: TestPlace;
  let archive: ArchiveDatabase;
  /** The tests share a database, and each uses an epoch of its own. */
  let epoch = "";
  let epochs = 0;

  beforeAll(async () => {
    place = await createPlace();
    archive = await place.open();
  });
  afterAll(async () => {
    await archive.close();
    await place.remove();
  });
  beforeEach(() => {
    epoch = `epoch-${++epochs}`;
  });

  const append = (entries: ArchivedEntry[], after = 0, given: object = {}) =>
    archive.append({ epoch, after, next: entries.at(-1)?.position ?? after, entries, ...given });

  /** The positions of the epoch's events, page by page. */
  async function read(query: Partial<ArchiveQuery> = {}): Promise<number[]> {
    const found: number[] = [];
    for (let before = query.before; ; ) {
      const page = await archive.page({ access: "all", limit: 1_000, ...query, before });
      const own = page.events.filter((event) => event.epoch === epoch);
      found.push(...own.map(({ position }) => position));
      if (page.next === undefined || own.length < page.events.length) return found;
      before = page.next;
    }
  }

  test("keeps every field of an event", async () => {
    const sent = entry(1, { camera: "south", data: { text: "Fög on the lens" }, event: "note.written" });
    await append([sent]);
    const { events } = await archive.page({ access: "all", limit: 1 });
    expect(events).toEqual([
      { epoch, position: 1, time: sent.acceptedAt, kind: "event", camera: "south", body: `{${sent.body}}` },
    ]);
    const [row] = await place.rows("select * from archive_events order by id desc limit 1");
    expect({ ...row, time: Number(row.time), sent_at: Number(row.sent_at) }).toMatchObject({
      ...{ time: START + 1_000, sent_at: START + 500, kind: "event", event: "note.written", camera: "south" },
      ...{ channels: " camera:south dashboard ", event_id: `e${count}`, words: "fog on the lens" },
    });
  });

  test("keeps an event whose texts a database cannot store as they are", async () => {
    const id = "a\0b\ud83c";
    const sent = entry(1, { event: "note.written" });
    const body = `"event":"note.written","data":{"text":"x\\u0000\\ud83c'\\\\ \\" 🏔"},"id":${JSON.stringify(id)}`;
    await append([{ ...sent, body }, job(2, "north")]);
    expect((await archive.page({ access: "all", limit: 2 })).events[1]?.body).toBe(`{${body}}`);
    const [row] = await place.rows("select event_id from archive_events where position = 1 order by id desc limit 1");
    expect(row.event_id).toBe("a\ufffdb\ufffd");
  });

  test("stores the position with the events, and refuses a batch that does not begin at the stored position", async () => {
    expect(await append([entry(1), entry(2)])).toBe(true);
    expect(await archive.position()).toEqual({ epoch, position: 2 });
    expect(await append([entry(1), entry(2)])).toBe(false);
    expect(await append([entry(4)], 3)).toBe(false);
    // Two nodes at the same time: one of them wins. Only PostgreSQL is tested: a SQLite archive belongs to one node.
    const other = await place.open();
    const first = append([entry(3)], 2);
    if (place.server === undefined) await first;
    const second = other.append({ epoch, after: 2, next: 3, entries: [entry(3)] });
    expect((await Promise.all([first, second])).sort()).toEqual([false, true]);
    await other.close();
    expect(await read()).toEqual([3, 2, 1]);
  });

  test("stores nothing of a batch that fails", async () => {
    await append([entry(1)]);
    const broken = { ...entry(3), body: "no JSON" };
    await expect(append([entry(2), broken], 1)).rejects.toThrow();
    expect(await archive.position()).toEqual({ epoch, position: 1 });
    expect(await read()).toEqual([1]);
  });

  test("records missing events as a gap, and names the gap in the page where the events are missing", async () => {
    await append([entry(1)]);
    await append([entry(10)], 1, { gap: { after: 1, before: 10, reason: "trimmed" } });
    await append([entry(11)], 10);
    const gap = { epoch, after: 1, before: 10, reason: "trimmed", noticed_at: expect.any(Number) };
    expect((await archive.page({ access: "all", limit: 1 })).gaps).toEqual([]);
    expect((await archive.page({ access: "all", limit: 2 })).gaps).toEqual([gap]);
    expect((await place.rows(`select * from archive_gaps where after = 1`)).length).toBeGreaterThan(0);
  });

  test("archives the events only once that a new epoch keeps, and records that the old epoch ended", async () => {
    const kept = [entry(1), entry(2), entry(3)];
    await append([...kept, entry(4), entry(5)]);
    const old = epoch;
    epoch = `epoch-${++epochs}`;
    // The journal was restored from a copy with 3 entries. Its new entries 4 and 5 differ from the old entries 4 and 5.
    await append([...kept, entry(4, { data: { other: 1 } }), entry(5, { data: { other: 2 } }), entry(6)]);
    expect(await read()).toEqual([6, 5, 4]);
    const { gaps } = await archive.page({ access: "all", limit: 3 });
    expect(gaps).toEqual([
      { epoch: old, after: 5, before: null, reason: "epoch_changed", noticed_at: expect.any(Number) },
    ]);
  });

  test("gives pages of any size, newest first, each event once", async () => {
    await append(range(1, 250).map((position) => entry(position)));
    const newest = range(1, 250).reverse();
    for (const limit of [1, 7, 100, 249, 250, 251]) expect(await read({ limit })).toEqual(newest);
    const first = await archive.page({ access: "all", limit: 100 });
    await append([entry(251)], 250);
    const second = await archive.page({ access: "all", limit: 100, before: first.next });
    expect(second.events[0]?.position).toBe(150);
  });

  test("finds events by kind, camera, event, job and time", async () => {
    const alert = entry(4, { event: "alert.raised", topic: `${ROOT}/cameras/north/alerts/disk` });
    await append([
      entry(1),
      entry(2, { camera: "east" }),
      entry(3, { event: "capture.failed" }),
      alert,
      job(5, "east"),
    ]);
    const since = { from: START };
    expect(await read({ ...since, kind: "alert" })).toEqual([4]);
    expect(await read({ ...since, camera: "east" })).toEqual([5, 2]);
    expect(await read({ ...since, event: "capture.failed" })).toEqual([3]);
    expect(await read({ ...since, camera: "north", event: "capture.completed" })).toEqual([1]);
    expect(await read({ ...since, subject: "j5" })).toEqual([5]);
    expect(await read({ from: START + 2_000, to: START + 4_000 })).toEqual([4, 3, 2]);
    expect(await read({ to: START - 1 })).toEqual([]);
    expect(await read({ from: START + 400 * DAY_MS })).toEqual([]);
  });

  test("finds events by their times, even if the clock was set back between the events", async () => {
    await append([
      entry(1, { acceptedAt: START + 50 * DAY_MS }),
      entry(2, { acceptedAt: START + 40 * DAY_MS }),
      entry(3, { acceptedAt: START + 51 * DAY_MS }),
    ]);
    expect(await read({ from: START + 45 * DAY_MS, to: START + 55 * DAY_MS })).toEqual([3, 1]);
    const fortieth = { from: START + 35 * DAY_MS, to: START + 45 * DAY_MS };
    expect(await read(fortieth)).toEqual([2]);
    await append([entry(4, { acceptedAt: START + 40 * DAY_MS + 1_000 })], 3);
    expect(await read(fortieth)).toEqual([4, 2]);
  });

  test("finds events by words and by the first letters of words", async () => {
    await append([
      entry(1, { data: { error: "The lens cap is FROZEN shut", code: "E-17" } }),
      entry(2, { data: { message: "no lens", nested: [{ text: "Gletscher über Äste" }] } }),
      entry(3, { data: { capture: "01JQ8W6ZK9F3Y2M4N5P6Q7R8S9" } }),
      entry(4, { camera: "west", data: { error: "lens" } }),
    ]);
    const search = (text: string, query = {}) => read({ from: START, words: searchWordsOf(text), ...query });
    expect(await search("lens")).toEqual([4, 2, 1]);
    expect(await search("froz* LENS")).toEqual([1]);
    expect(await search("froz LENS")).toEqual([]);
    expect(await search("*")).toEqual(await read({ from: START }));
    expect(await search("lens", { camera: "west" })).toEqual([4]);
    expect(await search("uber aste")).toEqual([2]);
    expect(await search("17")).toEqual([1]);
    expect(await search("rozen")).toEqual([]);
    expect(await search("lens' OR \"x")).toEqual([]);
    expect(await search("lens", { limit: 1 })).toEqual([4, 2, 1]);
  });

  test("finds words among many events", async () => {
    const event = (position: number) => {
      const words = position % 2_000 === 1 ? "edelweiss gentian" : "gentian";
      return entry(position, { camera: position % 4 === 0 ? "south" : "north", data: { text: words } });
    };
    for (let after = 0; after < 8_000; after += 1_000) await append(range(after + 1, after + 1_000).map(event), after);
    const rare = [6_001, 4_001, 2_001, 1];
    for (const limit of [1, 3, 100]) {
      for (const camera of [undefined, "north"])
        expect(await read({ words: ["edelweiss"], camera, limit })).toEqual(rare);
    }
    expect(await read({ words: ["edelweiss"], camera: "south" })).toEqual([]);
    expect((await read({ words: ["gentian"], camera: "north", limit: 1_000 })).length).toBe(6_000);
    expect((await read({ words: ["gentian"], limit: 1_000 })).length).toBe(8_000);
    expect(await read({ words: ["edelweiss"], from: START + 3_000_000, to: START + 5_000_000 })).toEqual([4_001]);
  });

  test("shows a reader the events of the reader's channels only", async () => {
    await append([
      entry(1, { camera: "north" }),
      entry(2, { camera: "south" }),
      { ...entry(3), channels: [], topic: `${ROOT}/cameras/north/link`, camera: "north" },
      job(4, undefined),
      job(5, "south"),
      { ...entry(6), channels: ["camera:south", "valley", "dashboard"], camera: "south" },
      { ...entry(7), channels: ["system", "dashboard"], topic: `${ROOT}/system/status`, camera: undefined },
      // A broadcast to a camera's channel that names another camera.
      { ...entry(8), channels: ["camera:north"], topic: `${ROOT}/channels/camera:north/events/x`, camera: "south" },
    ]);
    const seen = (access: Exclude<ArchiveAccess, "all">, query = {}) => read({ from: START, access, ...query });
    const none = { builtIn: [], onlyCameras: undefined, cameras: [], custom: [] };
    expect(await read({ from: START })).toEqual([8, 7, 6, 5, 4, 3, 2, 1]);
    expect(await seen(none)).toEqual([]);
    expect(await seen({ ...none, builtIn: ["dashboard"] })).toEqual([7, 6, 5, 4, 2, 1]);
    expect(await seen({ ...none, builtIn: ["jobs"] })).toEqual([5, 4]);
    expect(await seen({ ...none, cameras: "all" })).toEqual([8, 6, 2, 1]);
    expect(await seen({ ...none, cameras: ["north"] })).toEqual([8, 1]);
    expect(await seen({ ...none, cameras: ["north"] }, { camera: "south" })).toEqual([]);
    expect(await seen({ ...none, custom: ["valley"] })).toEqual([6]);
    expect(await seen({ ...none, custom: ["vall"] })).toEqual([]);
    const narrowed = { ...none, builtIn: ["dashboard", "jobs"], onlyCameras: ["north"], cameras: ["north"] };
    expect(await seen(narrowed)).toEqual([8, 7, 4, 1]);
    expect(await seen(narrowed, { limit: 1 })).toEqual([8, 7, 4, 1]);
    expect(await seen(narrowed, { camera: "south" })).toEqual([]);
    const many = range(1, 200).map((n) => `camera-${n}`);
    expect(await seen({ ...narrowed, onlyCameras: [...many, "north"] })).toEqual([8, 7, 4, 1]);
    expect(await seen({ ofCameras: ["north"] })).toEqual([8, 3, 1]);
    expect(await seen({ ofCameras: [] })).toEqual([]);
  });

  test("deletes events by kind and age, and their words with them", async () => {
    const now = START + 3_000 * DAY_MS;
    const old = (position: number, days: number, given = {}) =>
      entry(position, { acceptedAt: now - days * DAY_MS, data: { text: "marmot" }, ...given });
    await append([old(1, 20), job(2, "north"), old(3, 5), old(4, 20, { topic: `${ROOT}/cameras/north/state/power` })]);
    // Events of a kind that is not named here are kept.
    while ((await archive.prune({ event: 10, state: 30 }, now)) > 0);
    const words = { words: ["marmot"] };
    expect(await read({ from: START + 2_000 * DAY_MS })).toEqual([4, 3]);
    expect(await read(words)).toEqual([4, 3]);
    while ((await archive.prune({ event: 1, state: 1, job: 1 }, now)) > 0);
    expect(await read()).toEqual([]);
    expect(await read(words)).toEqual([]);
    expect(await archive.position()).toEqual({ epoch, position: 4 });
  });

  test("opens an existing archive again", async () => {
    await append([entry(1)]);
    const again = await place.open();
    expect(await again.position()).toEqual({ epoch, position: 1 });
    await again.close();
  });
});

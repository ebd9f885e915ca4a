import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ClassicLevel } from "classic-level";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { createLevelPlace, type LevelPlace } from "./level-place.ts";
import { message, positions, range, readWhole } from "./messages.ts";

let place: LevelPlace;
let journal: Journal;
beforeEach(async () => {
  place = await createLevelPlace();
  journal = await place.open({ sync: false });
});
afterEach(() => place.dispose());

const NORTH = { channels: ["dashboard", "camera:north"], camera: "north" };
const SOUTH = { channels: ["dashboard", "camera:south"], camera: "south" };

/** Fills a journal with one event per write, and makes LevelDB store it in tables. */
async function fill(count: number): Promise<void> {
  for (let sent = 0; sent < count; sent++) await journal.append(message(sent % 2 === 0 ? NORTH : SOUTH));
  journal = await place.open();
  await journal.close();
}

async function largestTable(): Promise<string> {
  const folder = join(place.path, "log");
  const names = (await readdir(folder)).filter((name) => name.endsWith(".ldb")).map((name) => join(folder, name));
  const sizes = await Promise.all(names.map(async (name) => (await stat(name)).size));
  return names[sizes.indexOf(Math.max(...sizes))] ?? "none";
}

async function flip(file: string, at: (size: number) => number, count = 8): Promise<void> {
  const bytes = await readFile(file);
  const from = at(bytes.length);
  for (let index = from; index < from + count; index++) bytes[index] = (bytes[index] ?? 0) ^ 0xff;
  await writeFile(file, bytes);
}

/** Reads a channel like a resuming client. @returns the received positions, and the positions reported as missing */
async function resume(channel: string, since: number) {
  const given: number[] = [];
  const missing: number[] = [];
  let after = since;
  for (;;) {
    const page = await journal.replay({ channels: [channel], after });
    if (page.gap !== undefined) {
      missing.push(...range(page.gap.after + 1, page.gap.before - 1));
      after = Math.max(after, page.gap.before - 1);
      if (after < journal.head) continue;
      break;
    }
    given.push(...positions(page.entries));
    after = page.next;
    if (page.done) break;
  }
  return { given, missing };
}

/** Deletes rows: LevelDB's iterators skip an unreadable block in the same way. */
async function lose(keys: string[]): Promise<void> {
  const db = new ClassicLevel<string, string>(join(place.path, "log"));
  await db.batch(keys.map((key) => ({ type: "del", key })));
  await db.close();
}

const chunk = (position: number) => `m${String(position).padStart(16, "0")}`;
const span = (channel: string, position: number) => `i${channel}!${String(position).padStart(16, "0")}`;

describe("8 flipped bytes in a table", () => {
  test.each([0.3, 0.5, 0.7, 0.9])("at %d of the table's length cause a report of every lost entry", async (part) => {
    await fill(3_000);
    const { epoch } = journal;
    await flip(await largestTable(), (size) => Math.floor(size * part));
    const found: string[] = [];
    journal = await place.open({ onDamage: ({ missing }) => found.push(missing) });
    expect(place.logged.join()).toMatch(/journal is damaged/);
    expect(found).toHaveLength(1);
    for (const [channel, odd] of [
      ["dashboard", undefined],
      ["camera:north", 1],
      ["camera:south", 0],
    ] as const) {
      const { given, missing } = await resume(channel, 0);
      const wanted = range(1, 3_000).filter((position) => odd === undefined || position % 2 === odd);
      const unreported = wanted.filter((position) => !given.includes(position) && !missing.includes(position));
      expect(unreported).toEqual([]);
      if (given.length < wanted.length && journal.epoch === epoch)
        expect(journal.recovery(channel, { epoch, position: 0 })).toMatchObject({ reason: "damaged" });
    }
    // After the repair the damage is not reported again.
    place.logged.length = 0;
    journal = await place.open();
    expect(place.logged.filter((line) => line.includes("and may have lost"))).toEqual([]);
  });

  test("do not change the epoch, or the entries before and after the gap", async () => {
    await fill(3_000);
    const { epoch } = journal;
    await flip(await largestTable(), (size) => Math.floor(size * 0.9));
    journal = await place.open();
    expect(journal.epoch).toBe(epoch);
    const { given, missing } = await resume("dashboard", 0);
    expect(given.length).toBeGreaterThan(2_500);
    expect(given[0]).toBe(1);
    expect(given.at(-1)).toBe(3_000);
    const gap = { after: missing[0] === undefined ? 0 : missing[0] - 1, before: (missing.at(-1) ?? 0) + 1 };
    expect([...given, ...missing].sort((a, b) => a - b)).toEqual(range(1, 3_000));
    const whole = await readWhole(journal, { maxEvents: 500 });
    expect({ given: positions(whole.entries), missing: whole.missing }).toEqual({ given, missing });
    expect((await journal.read({ after: gap.after })).gap).toEqual({ ...gap, reason: "damaged" });
    expect(journal.recovery("dashboard", { epoch, position: 5 })).toEqual({ complete: false, reason: "damaged", gap });
    expect(journal.recovery("dashboard", { epoch, position: gap.before - 1 })).toEqual({ complete: true });
  });
});

describe("an unreadable chunk is a gap", () => {
  test("for a reader of all channels", async () => {
    await fill(200);
    await lose([chunk(100), chunk(101)]);
    journal = await place.open();
    expect(await resume("dashboard", 0)).toEqual({ given: [...range(1, 99), ...range(102, 200)], missing: [100, 101] });
    expect(place.logged.join()).toMatch(/events are missing/);
  });

  test("for a reader of one channel", async () => {
    await fill(200);
    await lose([chunk(101)]);
    journal = await place.open();
    const { given, missing } = await resume("camera:north", 0);
    expect(missing).toEqual([101]);
    expect(given).toEqual(range(1, 200).filter((position) => position % 2 === 1 && position !== 101));
    // The other channel lost no entry.
    expect((await resume("camera:south", 0)).missing).toEqual([]);
  });

  test("when the rows that index the chunk are lost, too", async () => {
    await fill(200);
    await lose([chunk(101), span("camera:north", 101), span("dashboard", 101)]);
    journal = await place.open();
    expect((await resume("camera:north", 0)).missing).toContain(101);
    expect((await resume("dashboard", 0)).missing).toEqual([101]);
  });

  test("directly after the cursor of a reader", async () => {
    await fill(200);
    await lose([chunk(101), span("camera:north", 101), span("dashboard", 101)]);
    journal = await place.open();
    expect((await resume("camera:north", 100)).missing).toContain(101);
    expect((await resume("dashboard", 100)).missing).toEqual([101]);
  });

  test("that is logged only once", async () => {
    await fill(200);
    await lose([chunk(101)]);
    journal = await place.open();
    for (let read = 0; read < 3; read++) await resume("dashboard", 0);
    expect(place.logged.filter((line) => line.includes("events are missing"))).toHaveLength(1);
  });
});

test("entries that retention removed are not reported as a gap when a channel still has older entries", async () => {
  const quiet = { channels: ["camera:quiet"], camera: "quiet" };
  journal = await place.open({ retentionEvents: 50 });
  for (let sent = 0; sent < 400; sent++)
    await journal.append(message(sent % 100 === 0 ? quiet : sent % 3 === 0 ? NORTH : { channels: [] }));
  await journal.trim();
  const { given } = await resume("camera:quiet", 0);
  expect(given).toEqual([1, 101, 201, 301]);
  await resume("dashboard", 0);
  await resume("camera:north", 0);
  journal = await place.open({ retentionEvents: 50 });
  await resume("dashboard", 0);
  await resume("camera:north", 0);
  expect(place.logged).toEqual([]);
});

test("retention counts lost entries as removed", async () => {
  await fill(200);
  await lose(
    range(51, 60)
      .map(chunk)
      .concat(range(51, 60).map((position) => span("dashboard", position))),
  );
  journal = await place.open({ retentionEvents: 100 });
  await journal.trim();
  expect((await resume("dashboard", 100)).given).toEqual(range(101, 200));
});

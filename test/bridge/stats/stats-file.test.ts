import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { openStats, type Stats } from "../../../bridge/stats/stats.ts";

const logger = pino({ level: "silent" });
let folder: string;
let path: string;
let stats: Stats;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "stats-"));
  path = join(folder, "data", "stats.json");
  stats = await openStats({ path, logger, flushIntervalMs: 20 });
});
afterEach(async () => {
  await stats.stop();
  await rm(folder, { recursive: true });
});

describe("totals since the first start", () => {
  it("survive restarts, and count them", async () => {
    const { since } = stats.totals();
    stats.add("events", 41);
    stats.add("events");
    await stats.stop();
    stats = await openStats({ path, logger });
    stats.add("events", 8);
    expect(stats.totals()).toMatchObject({ since, starts: 2, counts: { events: 50, broadcasts: 0 } });
  });

  it("are written from time to time, so that a kill costs little", async () => {
    stats.add("broadcasts", 3);
    await vi.waitFor(async () => expect(JSON.parse(await readFile(path, "utf8")).counts.broadcasts).toBe(3));
  });

  it("begin anew when their file cannot be read, which is kept aside", async () => {
    await stats.stop();
    await writeFile(path, '{"since":');
    stats = await openStats({ path, logger });
    expect(stats.totals()).toMatchObject({ starts: 1, counts: { events: 0 } });
    expect(await readFile(`${path}.unreadable`, "utf8")).toBe('{"since":');
  });

  it("are counted on when the disk takes nothing, and written when it does", async () => {
    await rm(join(folder, "data"), { recursive: true });
    stats.add("commands", 2);
    await stats.stop();
    expect(stats.totals().counts.commands).toBe(2);
    expect(await readdir(folder)).toEqual([]);
  });
});

import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { openStats, type Stats } from "../../../bridge/stats/stats.ts";
import { startRunningClock } from "../../support/running-clock.ts";

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
  it("survive restarts and count the starts", async () => {
    const { since } = stats.totals();
    stats.add("events", 41);
    stats.add("events");
    await stats.stop();
    stats = await openStats({ path, logger });
    stats.add("events", 8);
    expect(stats.totals()).toMatchObject({ since, starts: 2, counts: { events: 50, broadcasts: 0 } });
  });

  it("are written within a second, so that few counts are lost when the program is killed", async () => {
    await stats.stop();
    stats = await openStats({ path, logger });
    const elapsedMs = startRunningClock();
    stats.add("broadcasts", 3);
    await vi.waitFor(async () => expect(JSON.parse(await readFile(path, "utf8")).counts.broadcasts).toBe(3));
    expect(elapsedMs()).toBeLessThan(1_000);
  });

  it("start at zero when their file is unreadable, and keep that file under another name", async () => {
    await stats.stop();
    await writeFile(path, '{"since":');
    stats = await openStats({ path, logger });
    expect(stats.totals()).toMatchObject({ starts: 1, counts: { events: 0 } });
    expect(await readFile(`${path}.unreadable`, "utf8")).toBe('{"since":');
  });

  it("continue while the file cannot be written", async () => {
    await rm(join(folder, "data"), { recursive: true });
    stats.add("commands", 2);
    await stats.stop();
    expect(stats.totals().counts.commands).toBe(2);
    expect(await readdir(folder)).toEqual([]);
  });
});

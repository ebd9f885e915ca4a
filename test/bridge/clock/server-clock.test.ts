import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { openServerClock, type ServerClock, type ServerClockOptions } from "../../../bridge/clock/server-clock.ts";
import type { Cluster, Documents } from "../../../bridge/cluster/cluster.ts";
import { openLocalCluster } from "../../../bridge/cluster/local/local.ts";
import { StoreUnavailableError } from "../../../platform/errors.ts";

const START = Date.UTC(2026, 2, 1, 12);
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** The clocks of the machine, which the tests set. */
const machine = { wall: START, uptime: 1000 * HOUR, boot: "one", network: undefined as boolean | undefined };
let lines: { level: number; msg: string }[];
let cluster: Cluster;

beforeEach(async () => {
  Object.assign(machine, { wall: START, uptime: 1000 * HOUR, boot: "one", network: undefined });
  lines = [];
  const path = await mkdtemp(join(tmpdir(), "skylapse-clock-"));
  cluster = await openLocalCluster({ path, logger: pino({ level: "silent" }) });
  onTestFinished(async () => {
    await cluster.stop();
    await rm(path, { recursive: true });
  });
});

async function open(more: Partial<ServerClockOptions> = {}): Promise<ServerClock> {
  const logger = pino({ level: "info" }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const clock = await openServerClock({
    ...{ documents: cluster.documents, logger, intervalMs: 20, ...more },
    wall: () => machine.wall,
    runningTime: {
      get boot() {
        return machine.boot;
      },
      now: () => machine.uptime,
    },
    networkTime: async () => machine.network,
  });
  onTestFinished(() => clock.stop());
  return clock;
}

function pass(ms: number): void {
  machine.wall += ms;
  machine.uptime += ms;
}

function boot(wall: number): void {
  Object.assign(machine, { wall, uptime: MINUTE, boot: `${machine.boot}+` });
}

/** Tolerance, because a test itself takes time. */
const SLACK_MS = 30_000;
function expectClock(clock: ServerClock, expected: number): void {
  expect(Math.abs(clock.now() - expected), `${clock.now()} is not ${expected}`).toBeLessThan(SLACK_MS);
}

describe("the server's own clock", () => {
  it("starts at the time of the system clock, and advances over a restart by the machine's running time", async () => {
    const clock = await open();
    expectClock(clock, START);
    await clock.stop();
    pass(9 * HOUR);
    const next = await open();
    expectClock(next, START + 9 * HOUR);
    expect(next.jump).toBeUndefined();
    expect(lines).toEqual([]);
  });

  it.each([
    ["two days ahead", 2 * DAY, "2 d ahead of"],
    ["fourteen days back", -14 * DAY, "14 d behind"],
    ["to one hour after 1970 began", -START + HOUR, "d behind"],
  ])(
    "does not follow a system clock that is set %s between two starts, and reports the jump",
    async (_, jumpMs, words) => {
      await (await open()).stop();
      pass(HOUR);
      machine.wall += jumpMs;
      const clock = await open();
      expectClock(clock, START + HOUR);
      expect(clock.jump?.ahead_seconds).toBeCloseTo(jumpMs / 1000, -3);
      expect(clock.jump?.message).toContain(words);
      expect(lines.map(({ level, msg }) => [level, msg])).toEqual([[40, clock.jump?.message]]);
    },
  );

  it("ignores a jump of the system clock at run time, and logs the beginning and the end of the jump", async () => {
    const clock = await open();
    machine.wall += 2 * DAY;
    await vi.waitFor(() => expect(clock.jump).toBeDefined());
    expectClock(clock, START);
    machine.wall -= 2 * DAY;
    await vi.waitFor(() => expect(clock.jump).toBeUndefined());
    expect(lines.map(({ msg }) => msg)).toEqual([
      expect.stringContaining("2 d ahead"),
      "system clock agrees with the server's own clock again",
    ]);
  });

  it("excludes the time in which the machine was off until an operator confirms it, because the clock may have been set forward", async () => {
    await (await open()).stop();
    boot(START + 7 * DAY);
    const clock = await open();
    expectClock(clock, START);
    expect(clock.jump?.message).toContain("or the machine was off for that long");
  });

  it("corrects a small difference by a tenth of the elapsed time, and never runs backwards", async () => {
    await (await open()).stop();
    pass(10 * MINUTE);
    machine.wall -= 2 * MINUTE;
    const clock = await open();
    expectClock(clock, START + 9 * MINUTE);
    expect(clock.jump).toBeUndefined();
    let last = clock.now();
    for (let count = 0; count < 20; count++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(clock.now()).toBeGreaterThanOrEqual(last);
      last = clock.now();
    }
  });

  it("includes the time in which the machine was suspended", async () => {
    const clock = await open();
    pass(3 * HOUR);
    await vi.waitFor(() => expectClock(clock, START + 3 * HOUR));
    expect(clock.jump).toBeUndefined();
  });
});

describe("while the store is unavailable", () => {
  it("continues, and is stored when the store is available again", async () => {
    let isUnavailable = false;
    let refused = 0;
    const documents: Pick<Documents, "get" | "put"> = {
      get: (...args) => cluster.documents.get(...args),
      put: (...args) => {
        if (!isUnavailable) return cluster.documents.put(...args);
        refused++;
        return Promise.reject(new StoreUnavailableError("the disk is full"));
      },
    };
    const clock = await open({ documents });
    isUnavailable = true;
    pass(HOUR);
    await vi.waitFor(() => expect(refused).toBeGreaterThan(2));
    expectClock(clock, START + HOUR);
    await expect(clock.stop()).resolves.toBeUndefined();
    isUnavailable = false;
    pass(HOUR);
    expectClock(await open(), START + 2 * HOUR);
  });
});

describe("a jump is confirmed", () => {
  it("by an operator: the time in which the machine was off is included, also after a restart", async () => {
    await (await open()).stop();
    boot(START + 7 * DAY);
    const clock = await open();
    expect((await clock.accept({ timePassed: true }))?.ahead_seconds).toBeCloseTo((7 * DAY) / 1000, -3);
    expectClock(clock, START + 7 * DAY);
    expect(clock.jump).toBeUndefined();
    await clock.stop();
    const next = await open();
    expectClock(next, START + 7 * DAY);
    expect(next.jump).toBeUndefined();
  });

  it("by an operator who says that no time has passed: nothing gets older", async () => {
    const clock = await open();
    machine.wall += 400 * DAY;
    await vi.waitFor(() => expect(clock.jump).toBeDefined());
    await clock.accept({ timePassed: false });
    expectClock(clock, START);
    expect(clock.jump).toBeUndefined();
    await clock.stop();
    pass(HOUR);
    const next = await open();
    expectClock(next, START + HOUR);
    expect(next.jump).toBeUndefined();
  });

  it("by an operator after the clock was set back: the server's clock does not change", async () => {
    const clock = await open();
    machine.wall -= 14 * DAY;
    await vi.waitFor(() => expect(clock.jump).toBeDefined());
    await clock.accept({ timePassed: true });
    expectClock(clock, START);
    expect(clock.jump).toBeUndefined();
  });

  it("not if there is no jump", async () => {
    expect(await (await open()).accept({ timePassed: true })).toBeUndefined();
  });

  it("by network time that agreed before the jump and agrees again: the time in which the machine was off is included", async () => {
    machine.network = true;
    const first = await open({ agreementMs: 100 });
    await new Promise((resolve) => setTimeout(resolve, 200));
    await first.stop();
    boot(START + 7 * DAY);
    machine.network = false;
    const clock = await open({ agreementMs: 400 });
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(clock.jump).toBeDefined();
    expectClock(clock, START);
    machine.network = true;
    await vi.waitFor(() => expect(clock.jump).toBeUndefined());
    expectClock(clock, START + 7 * DAY);
  });

  it("by network time if the clock was wrong before: nothing gets older", async () => {
    const clock = await open({ agreementMs: 400 });
    machine.wall += 400 * DAY;
    machine.network = true;
    await vi.waitFor(() => expect(clock.jump).toBeDefined());
    await vi.waitFor(() => expect(clock.jump).toBeUndefined());
    expectClock(clock, START);
  });

  it("not by network time while it is unknown whether the system clock follows network time", async () => {
    const clock = await open({ agreementMs: 100 });
    machine.wall += 2 * DAY;
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(clock.jump).toBeDefined();
  });
});

describe("the cautious clock", () => {
  it("shows the time of the system clock with or without the jump, whichever is earlier", async () => {
    const clock = await open();
    machine.wall += 2 * DAY;
    expect(Math.abs(clock.cautious() - START)).toBeLessThan(SLACK_MS);
    machine.wall -= 4 * DAY;
    expect(clock.cautious()).toBe(START - 2 * DAY);
  });
});

describe("the clock of several nodes", () => {
  it("is shared, ignores the machines' clocks, and excludes the time in which all nodes are stopped", async () => {
    let shared = START;
    const sharedWall = () => shared;
    const one = await open({ sharedWall });
    machine.wall += 400 * DAY;
    const other = await open({ sharedWall });
    expectClock(one, START);
    expectClock(other, START);
    expect(other.jump).toBeUndefined();
    await Promise.all([one.stop(), other.stop()]);
    shared += 7 * DAY;
    const next = await open({ sharedWall });
    expectClock(next, START);
    expect(next.jump?.ahead_seconds).toBeCloseTo((7 * DAY) / 1000, -3);
    const follower = await open({ sharedWall });
    await next.accept({ timePassed: true });
    await vi.waitFor(() => expect(follower.jump).toBeUndefined());
    await vi.waitFor(() => expectClock(follower, START + 7 * DAY));
  });

  it("keeps the confirmation of a jump that arrives while another node stores its clock", async () => {
    let shared = START;
    const sharedWall = () => shared;
    await (await open({ sharedWall })).stop();
    shared += 7 * DAY;
    const next = await open({ sharedWall, intervalMs: HOUR });
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    let puts = 0;
    const documents: ServerClockOptions["documents"] = {
      get: (...args) => cluster.documents.get(...args),
      put: async (...args) => {
        puts++;
        await released;
        return await cluster.documents.put(...args);
      },
    };
    const opening = open({ sharedWall, intervalMs: HOUR, documents });
    await vi.waitUntil(() => puts > 0);
    expect(await next.accept({ timePassed: true })).toMatchObject({ ahead_seconds: expect.any(Number) });
    release();
    const other = await opening;
    const later = await open({ sharedWall });
    for (const clock of [next, other, later]) expect(clock.jump).toBeUndefined();
    expectClock(later, START + 7 * DAY);
  });
});

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Schedule } from "../../../contract/commands.ts";
import { everyDay } from "../../../contract/schedule/planner.ts";
import { CaptureLoop, type Plan, restAfterFailures } from "../../../device/capture/capture-loop.ts";

const zurich = { lat: 46.02, lon: 7.75, timezone: "Europe/Zurich" };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const at = (time: string, day = "2026-01-15"): Date => new Date(`${day}T${time}Z`);

function clock(start: string, end: string): Schedule {
  return { entries: [{ kind: "clock", start, end, interval_s: 60 }] };
}

interface Running {
  loop: CaptureLoop;
  captured: string[];
  plans: Plan[];
}

function run(schedule: Schedule, start: Date, capture: () => Promise<number> = async () => 0): Running {
  vi.setSystemTime(start);
  const captured: string[] = [];
  const plans: Plan[] = [];
  const loop = new CaptureLoop(schedule, {
    location: zurich,
    capture: () => {
      captured.push(new Date().toISOString().slice(11, 19));
      return capture();
    },
    onPlan: (plan) => plans.push(plan),
    phaseMs: 0,
    now: () => new Date(),
  });
  loop.start();
  return { loop, captured, plans };
}

test("the scheduler takes pictures while a window is open, reports its end, and waits for the next window", async () => {
  const { loop, captured, plans } = run(clock("11:00", "11:03"), at("09:58:30"));
  expect(plans.at(-1)).toEqual({ active: false, next: at("10:00:00"), intervalS: 60 });
  await vi.advanceTimersByTimeAsync(8 * 60_000);
  expect(captured).toEqual(["10:00:00", "10:01:00", "10:02:00"]);
  expect(plans.some(({ active }) => active)).toBe(true);
  expect(plans.at(-1)).toEqual({ active: false, next: new Date("2026-01-16T10:00:00Z"), intervalS: 60 });
  await loop.stop();
});

test("the scheduler reports the interval to the next picture, which is shorter while two windows overlap", async () => {
  const often = { kind: "clock", start: "12:00", end: "12:01", interval_s: 20 } as const;
  const { loop, captured, plans } = run({ entries: [...everyDay(1800).entries, often] }, at("10:20:00"));
  const intervals = () => plans.map(({ intervalS }) => intervalS);
  await vi.advanceTimersByTimeAsync(20 * 60_000);
  expect([captured, intervals()]).toEqual([["10:30:00"], [1800, 1800]]);
  await vi.advanceTimersByTimeAsync(21 * 60_000);
  expect(captured.slice(1)).toEqual(["11:00:00", "11:00:20", "11:00:40"]);
  expect(intervals().slice(2)).toEqual([20, 20, 1800]);
  loop.follow({ entries: [] });
  expect(plans.at(-1)).toEqual({ active: false, next: undefined, intervalS: undefined });
  await loop.stop();
});

test("the scheduler follows a new schedule at once", async () => {
  const { loop, captured } = run(everyDay(3600), at("10:30:00"));
  await vi.advanceTimersByTimeAsync(60_000);
  loop.follow(everyDay(20));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(captured).toEqual(["10:31:20", "10:31:40", "10:32:00"]);
  await loop.stop();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(captured).toHaveLength(3);
});

test("the scheduler delays the next picture after a slow picture, and never takes a missed picture later", async () => {
  const slow = () => new Promise<number>((resolve) => setTimeout(() => resolve(0), 25_000));
  const { loop, captured } = run(everyDay(10), at("10:00:01"), slow);
  await vi.advanceTimersByTimeAsync(70_000);
  expect(captured).toEqual(["10:00:10", "10:00:40", "10:01:10"]);
  const stopped = loop.stop();
  await vi.advanceTimersByTimeAsync(30_000);
  await stopped;
});

test("the scheduler notices within a minute that the clock was set", async () => {
  const { loop, captured } = run(clock("15:00", "16:00"), at("08:00:00"));
  vi.setSystemTime(at("14:30:00"));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(captured).toHaveLength(1);
  await loop.stop();
});

test("the scheduler takes no picture that was due while the machine was off if its window has closed", async () => {
  const { loop, captured, plans } = run(clock("11:00", "11:03"), at("09:59:30"));
  vi.setSystemTime(at("12:00:00"));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(captured).toEqual([]);
  expect(plans.at(-1)).toEqual({ active: false, next: new Date("2026-01-16T10:00:00Z"), intervalS: 60 });
  await loop.stop();
});

test("the scheduler reports the next picture again when the clock is set back", async () => {
  const { loop, plans } = run(clock("11:00", "11:03"), at("12:00:00"));
  expect(plans.at(-1)?.next).toEqual(new Date("2026-01-16T10:00:00Z"));
  vi.setSystemTime(new Date("2024-01-01T09:00:00Z"));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(plans.at(-1)?.next).toEqual(new Date("2024-01-01T10:00:00Z"));
  await loop.stop();
});

test("the scheduler does not prolong the pause after failures when the clock is set back", async () => {
  let failures = 0;
  const { loop, captured } = run(everyDay(10), at("10:00:01"), async () => ++failures);
  await vi.advanceTimersByTimeAsync(30_000);
  expect(captured).toHaveLength(3);
  vi.setSystemTime(new Date("2024-01-01T09:00:00Z"));
  await vi.advanceTimersByTimeAsync(70_000);
  expect(captured).toHaveLength(4);
  await loop.stop();
});

test("the scheduler pauses up to five minutes after repeated failures", async () => {
  expect([1, 2, 3, 4, 5, 6, 50].map(restAfterFailures)).toEqual([0, 0, 60, 120, 240, 300, 300]);
  let failures = 0;
  const { loop, captured } = run(everyDay(10), at("10:00:01"), async () => ++failures);
  await vi.advanceTimersByTimeAsync(3 * 60_000);
  expect(captured).toEqual(["10:00:10", "10:00:20", "10:00:30", "10:01:40"]);
  await loop.stop();
});

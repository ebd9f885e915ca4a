import { setTimeout as pause } from "node:timers/promises";
import { afterEach, expect, test, vi } from "vitest";
import { afterRunning } from "../../platform/running-time.ts";

afterEach(() => {
  vi.useRealTimers();
});

test("calls the callback once, after the time", () => {
  vi.useFakeTimers();
  const act = vi.fn();
  afterRunning(1000, act);
  vi.advanceTimersByTime(999);
  expect(act).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  expect(act).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(10_000);
  expect(act).toHaveBeenCalledTimes(1);
});

test("calls the callback after a time shorter than a step", () => {
  vi.useFakeTimers();
  const act = vi.fn();
  afterRunning(10, act);
  vi.advanceTimersByTime(10);
  expect(act).toHaveBeenCalledTimes(1);
});

test("does not call a cancelled callback", () => {
  vi.useFakeTimers();
  const act = vi.fn();
  afterRunning(1000, act)();
  vi.advanceTimersByTime(10_000);
  expect(act).not.toHaveBeenCalled();
});

test("excludes the time in which the process was suspended", async () => {
  const act = vi.fn();
  const end = afterRunning(1000, act);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1500);
  // The timer is overdue now: during the two pauses, a wrong timer would call `act`.
  await pause(1);
  await pause(1);
  expect(act).not.toHaveBeenCalled();
  end();
});

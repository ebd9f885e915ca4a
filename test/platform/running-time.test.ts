import { setTimeout as pause } from "node:timers/promises";
import { afterEach, expect, test, vi } from "vitest";
import { afterRunning } from "../../platform/running-time.ts";

afterEach(() => {
  vi.useRealTimers();
});

test("calls back once, after the time", () => {
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

test("calls back after a time that is shorter than a step", () => {
  vi.useFakeTimers();
  const act = vi.fn();
  afterRunning(10, act);
  vi.advanceTimersByTime(10);
  expect(act).toHaveBeenCalledTimes(1);
});

test("does not call back after it was cancelled", () => {
  vi.useFakeTimers();
  const act = vi.fn();
  afterRunning(1000, act)();
  vi.advanceTimersByTime(10_000);
  expect(act).not.toHaveBeenCalled();
});

test("does not include the time in which the process was suspended", async () => {
  const act = vi.fn();
  const end = afterRunning(1000, act);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1500);
  // Overdue timers fire before pending input is read. The assertion runs after both.
  await pause(1);
  await pause(1);
  expect(act).not.toHaveBeenCalled();
  end();
});

import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createStoreCheck } from "../../../bridge/stats/store-check.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it("a flood of questions is one write a second", async () => {
  const write = vi.fn(async () => {});
  const check = createStoreCheck({ write });
  for (let moment = 0; moment < 5_000; moment += 10) {
    expect(await check()).toBeUndefined();
    await vi.advanceTimersByTimeAsync(10);
  }
  expect(write.mock.calls.length).toBeGreaterThanOrEqual(4);
  expect(write.mock.calls.length).toBeLessThanOrEqual(5);
});

it("those who ask while it writes get the outcome of that write", async () => {
  let fail = (_error: Error) => {};
  const write = vi.fn(
    () =>
      new Promise<void>((_, reject) => {
        fail = reject;
      }),
  );
  const check = createStoreCheck({ write });
  const outcomes = [check(), check(), check()];
  fail(new Error("the disk is full"));
  expect(await Promise.all(outcomes)).toEqual(["the disk is full", "the disk is full", "the disk is full"]);
  expect(write).toHaveBeenCalledTimes(1);
});

it("a write that never ends has failed in time", async () => {
  const check = createStoreCheck({ write: () => new Promise(() => {}) });
  const outcome = check();
  await vi.advanceTimersByTimeAsync(2_500);
  expect(await outcome).toBe("the store does not answer within 2500 ms");
});

it("looks again after a failure", async () => {
  const write = vi.fn(async () => {});
  write.mockRejectedValueOnce(new Error("away"));
  const check = createStoreCheck({ write });
  expect(await check()).toBe("away");
  await vi.advanceTimersByTimeAsync(1_000);
  expect(await check()).toBeUndefined();
});

import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createStoreCheck } from "../../../bridge/stats/store-check.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it("the store check writes once a second, however many callers ask", async () => {
  const write = vi.fn(async () => {});
  const check = createStoreCheck({ write });
  for (let ms = 0; ms < 5_000; ms += 10) {
    expect(await check()).toBeUndefined();
    await vi.advanceTimersByTimeAsync(10);
  }
  expect(write.mock.calls.length).toBeGreaterThanOrEqual(4);
  expect(write.mock.calls.length).toBeLessThanOrEqual(5);
});

it("the store check returns the result of the write under way to all callers", async () => {
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

it("the store check fails after a timeout when the write does not end", async () => {
  const check = createStoreCheck({ write: () => new Promise(() => {}) });
  const outcome = check();
  await vi.advanceTimersByTimeAsync(2_500);
  expect(await outcome).toBe("the store did not answer within 2500 ms");
});

it("the store check writes again after a failure", async () => {
  const write = vi.fn(async () => {});
  write.mockRejectedValueOnce(new Error("unavailable"));
  const check = createStoreCheck({ write });
  expect(await check()).toBe("unavailable");
  await vi.advanceTimersByTimeAsync(1_000);
  expect(await check()).toBeUndefined();
});

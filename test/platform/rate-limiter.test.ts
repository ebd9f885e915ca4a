import { expect, it } from "vitest";
import { RateLimiter } from "../../platform/rate-limiter.ts";

const unlimited = { messagesPerSecond: Infinity, bytesPerSecond: Infinity, pendingBytes: Infinity };

/** Sends all messages as fast as the limiter allows. @returns the number of wake-ups, and the duration */
async function spendAll(limiter: RateLimiter, messages: number): Promise<{ wakes: number; tookMs: number }> {
  const started = performance.now();
  let spent = 0;
  let wakes = 0;
  await new Promise<void>((resolve) => {
    const turn = () => {
      wakes++;
      while (spent < messages && limiter.openOr(turn)) {
        limiter.spend(1, 0);
        spent++;
      }
      if (spent === messages) resolve();
    };
    turn();
  });
  return { wakes, tookMs: performance.now() - started };
}

it("passes a burst of messages at twice the rate instead of at once", async () => {
  const limiter = new RateLimiter({ ...unlimited, messagesPerSecond: 1000 });
  // All messages are within the burst of two seconds.
  expect((await spendAll(limiter, 1000)).tookMs).toBeGreaterThan(400);
});

it("passes a burst of bytes at twice the rate instead of at once", async () => {
  const limiter = new RateLimiter({ ...unlimited, bytesPerSecond: 1_000_000 });
  const started = performance.now();
  for (let sent = 0; sent < 1_200_000; sent += 200_000) {
    if (!limiter.isOpen) await new Promise<void>((resolve) => limiter.openOr(resolve) && resolve());
    limiter.spend(1, 200_000);
  }
  expect(performance.now() - started).toBeGreaterThan(300);
});

it("wakes a throttled sender at most a hundred times a second, not for every message", async () => {
  const limiter = new RateLimiter({ ...unlimited, messagesPerSecond: 500 });
  // The messages exceed the burst of two seconds.
  const { wakes, tookMs } = await spendAll(limiter, 1500);
  expect(wakes).toBeLessThan(tookMs / 10 + 2);
});

it("never delays a sender without limits", async () => {
  const { wakes } = await spendAll(new RateLimiter(unlimited), 100_000);
  expect(wakes).toBe(1);
});

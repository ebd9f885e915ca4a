import { expect, it } from "vitest";
import { RateLimiter } from "../../platform/rate-limiter.ts";

const unlimited = { messagesPerSecond: Infinity, bytesPerSecond: Infinity, pendingBytes: Infinity };

/** Spends as soon as it may. @returns how many times it was woken, and how long that took in all */
async function spendAll(pace: RateLimiter, messages: number): Promise<{ wakes: number; tookMs: number }> {
  const started = performance.now();
  let spent = 0;
  let wakes = 0;
  await new Promise<void>((resolve) => {
    const turn = () => {
      wakes++;
      while (spent < messages && pace.openOr(turn)) {
        pace.spend(1, 0);
        spent++;
      }
      if (spent === messages) resolve();
    };
    turn();
  });
  return { wakes, tookMs: performance.now() - started };
}

it("lets a burst of messages pass at twice the rate, not in one go", async () => {
  const pace = new RateLimiter({ ...unlimited, messagesPerSecond: 1000 });
  // All of them are within the burst of two seconds.
  expect((await spendAll(pace, 1000)).tookMs).toBeGreaterThan(400);
});

it("lets a burst of bytes pass at twice the rate, not in one go", async () => {
  const pace = new RateLimiter({ ...unlimited, bytesPerSecond: 1_000_000 });
  const started = performance.now();
  for (let sent = 0; sent < 1_200_000; sent += 200_000) {
    if (!pace.isOpen) await new Promise<void>((resolve) => pace.openOr(resolve) && resolve());
    pace.spend(1, 200_000);
  }
  expect(performance.now() - started).toBeGreaterThan(300);
});

it("wakes a sender beyond its rate a hundred times a second, and not for every message", async () => {
  const pace = new RateLimiter({ ...unlimited, messagesPerSecond: 500 });
  // More than the burst of two seconds.
  const { wakes, tookMs } = await spendAll(pace, 1500);
  expect(wakes).toBeLessThan(tookMs / 10 + 2);
});

it("spends nothing when there are no limits", async () => {
  const { wakes } = await spendAll(new RateLimiter(unlimited), 100_000);
  expect(wakes).toBe(1);
});

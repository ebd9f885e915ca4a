import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Backoff } from "../../../dashboard-client/client/backoff.ts";

function delays(backoff: Backoff, count: number): number[] {
  return Array.from({ length: count }, () => backoff.failed());
}

describe("the wait before the next attempt", () => {
  it("is between the shortest and the longest wait, for any random number and any number of failures", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 1, maxLength: 2000 }),
        fc.integer({ min: 1, max: 1000 }),
        fc.integer({ min: 1, max: 60_000 }),
        (chances, minDelayMs, maxDelayMs) => {
          const random = (): number => chances.shift() ?? 0;
          const backoff = new Backoff({ minDelayMs, maxDelayMs, random });
          for (const delay of delays(backoff, chances.length)) {
            expect(delay).toBeGreaterThanOrEqual(minDelayMs);
            expect(delay).toBeLessThanOrEqual(Math.max(minDelayMs, maxDelayMs));
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  it("has an upper limit that doubles with each failure up to the longest wait", () => {
    const backoff = new Backoff({ minDelayMs: 100, maxDelayMs: 1000, random: () => 1 });
    expect(delays(backoff, 6)).toEqual([200, 400, 800, 1000, 1000, 1000]);
  });

  it("is spread over the whole range, so that clients do not all reconnect at the same time", () => {
    const waits = Array.from({ length: 1000 }, () => new Backoff({ minDelayMs: 100, maxDelayMs: 1100 })).map(
      (backoff) => delays(backoff, 10).at(-1),
    );
    const tenths = new Set(waits.map((wait) => Math.floor(((wait ?? 0) - 100) / 100)));
    expect(tenths.size).toBe(10);
  });

  it("is reset only after a stable connection", () => {
    const backoff = new Backoff({ minDelayMs: 100, maxDelayMs: 10_000, stableAfterMs: 1000, random: () => 1 });
    delays(backoff, 3);
    backoff.lasted(999);
    expect(backoff.failed()).toBe(1600);
    backoff.lasted(1000);
    expect(backoff.failed()).toBe(200);
  });
});

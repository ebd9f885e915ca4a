import { expect, test } from "vitest";
import { ArchivePace, shareOf } from "../../../../bridge/journal/archive/pace.ts";
import { range } from "../messages.ts";

test("works without pauses while the event loop has time, works less when the loop is busier, and never stops", () => {
  expect([0, 0.3, 0.5].map((utilization) => shareOf(utilization, 0))).toEqual([1, 1, 1]);
  const shares = range(50, 100).map((percent) => shareOf(percent / 100, 0));
  expect(shares).toEqual([...shares].sort((one, other) => other - one));
  expect(shares.at(-1)).toBeGreaterThan(0);
  expect(shares.at(-1)).toBeLessThan(0.05);
});

test("works more when the journal would soon remove events that are not archived", () => {
  expect(shareOf(1, 0.5)).toBe(shareOf(1, 0));
  expect(shareOf(1, 0.7)).toBeGreaterThan(0.4);
  expect(shareOf(1, 0.9)).toBe(1);
});

test("copies small pages with pauses while the event loop is busy", () => {
  let utilization = 0;
  const pace = new ArchivePace(() => utilization);
  const calm = pace.begin();
  expect(pace.end(0)).toBe(0);
  utilization = 1;
  pace.begin();
  expect(pace.end(0)).toBeGreaterThan(0);
  expect(pace.begin()).toBeLessThan(calm);
  expect(pace.end(1)).toBe(0);
  expect(pace.begin()).toBe(calm);
});

import { describe, expect, it } from "vitest";
import type { Entry } from "../../../bridge/journal/journal.ts";
import { RecentEntries, type RecentEntriesLimits } from "../../../bridge/journal/recent-entries.ts";

const BODY_CHARS = 100;
/** The size of an entry in characters, as {@link RecentEntries} counts it: the body and 200 for the other fields. */
const CHARS_PER_ENTRY = BODY_CHARS + 200;

function entryAt(position: number, length = BODY_CHARS): Entry {
  const body = "x".repeat(length);
  return { position, topic: "t", channels: ["dashboard"], camera: undefined, body, state: undefined, acceptedAt: 0 };
}

/** @param first the position of the first entry */
function recentEntries(count: number, limits: Partial<RecentEntriesLimits> = {}, first = 1): RecentEntries {
  const entries = new RecentEntries({ maxChars: 1e6, ...limits });
  for (let position = first; position < first + count; position++) entries.push([entryAt(position)]);
  return entries;
}

function positions(entries: RecentEntries, after: number, until = Number.POSITIVE_INFINITY): number[] {
  const read: number[] = [];
  entries.read(after, until, ({ position }) => read.push(position) > 0);
  return read;
}

describe("recent entries", () => {
  it("cover no position while they are empty", () => {
    const entries = new RecentEntries({ maxChars: 1_000 });
    expect(entries.reaches(0)).toBe(false);
    expect(positions(entries, 0)).toEqual([]);
  });

  it("are read above one position and up to another, in order", () => {
    const entries = recentEntries(6, {}, 11);
    expect(entries.reaches(9)).toBe(false);
    expect(entries.reaches(10)).toBe(true);
    expect(positions(entries, 10)).toEqual([11, 12, 13, 14, 15, 16]);
    expect(positions(entries, 12, 15)).toEqual([13, 14, 15]);
    expect(positions(entries, 16)).toEqual([]);
  });

  it("are read until the reader has enough entries", () => {
    const read: number[] = [];
    recentEntries(6).read(2, 6, ({ position }) => read.push(position) < 2);
    expect(read).toEqual([3, 4]);
  });

  it("are limited in number: the oldest are evicted", () => {
    const entries = recentEntries(1_000, { maxEntries: 10 });
    expect(entries.reaches(989)).toBe(false);
    expect(entries.reaches(990)).toBe(true);
    expect(positions(entries, 990)).toEqual([991, 992, 993, 994, 995, 996, 997, 998, 999, 1_000]);
  });

  it("are limited in characters: the oldest are evicted", () => {
    const entries = recentEntries(1_000, { maxChars: 3.5 * CHARS_PER_ENTRY });
    expect(entries.reaches(996)).toBe(false);
    expect(positions(entries, 997)).toEqual([998, 999, 1_000]);
  });

  it("do not keep an entry that is larger than their limit", () => {
    const entries = recentEntries(3, { maxChars: 3.5 * CHARS_PER_ENTRY });
    entries.push([entryAt(4, 10_000)]);
    expect(entries.reaches(3)).toBe(false);
    entries.push([entryAt(5)]);
    expect(entries.reaches(4)).toBe(true);
    expect(positions(entries, 4)).toEqual([5]);
  });

  it("are empty once cleared, and continue at another position", () => {
    const entries = recentEntries(3);
    entries.clear();
    expect(entries.reaches(3)).toBe(false);
    entries.push([entryAt(50)]);
    expect(entries.reaches(49)).toBe(true);
    expect(positions(entries, 49)).toEqual([50]);
  });
});

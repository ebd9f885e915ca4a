import { describe, expect, it } from "vitest";
import { RecentEntries, type RecentEntriesLimits } from "../../../bridge/delivery/recent-entries.ts";
import type { Entry } from "../../../bridge/journal/journal.ts";

function tailOf(count: number, limits: RecentEntriesLimits = {}, edge = 0): RecentEntries {
  const tail = new RecentEntries(edge, limits);
  for (let position = edge + 1; position <= edge + count; position++) tail.push(entryAt(position));
  return tail;
}

function entryAt(position: number, length = 100): Entry {
  const channels = position % 2 === 0 ? ["even"] : ["odd"];
  const body = "x".repeat(length);
  return { position, topic: "t", channels, camera: undefined, body, state: undefined, acceptedAt: 0 };
}

const EVEN = new Set(["even"]);
const ALL = new Set(["even", "odd"]);
const positions = (
  tail: RecentEntries,
  ...[channels, after, until = tail.edge, maxEvents = 100, maxLength = 1e6]: Read
) => {
  const stretch = tail.read(channels, after, until, maxEvents, maxLength);
  return stretch === undefined ? undefined : [stretch.entries.map(({ position }) => position), stretch.next];
};
type Read = [channels: ReadonlySet<string>, after: number, until?: number, maxEvents?: number, maxLength?: number];

describe("the tail", () => {
  it("is empty at first, and everything up to its edge is read", () => {
    expect(positions(new RecentEntries(7), ALL, 7)).toEqual([[], 7]);
    expect(positions(new RecentEntries(7), ALL, 6)).toBeUndefined();
  });

  it("hands out what is above a place, of the channels that are asked for", () => {
    const tail = tailOf(6, {}, 10);
    expect(positions(tail, ALL, 10)).toEqual([[11, 12, 13, 14, 15, 16], 16]);
    expect(positions(tail, EVEN, 12)).toEqual([[14, 16], 16]);
    expect(positions(tail, EVEN, 12, 15)).toEqual([[14], 15]);
    expect(positions(tail, new Set(["none"]), 10)).toEqual([[], 16]);
  });

  it("ends a page at its limits, and says where the next begins", () => {
    const tail = tailOf(10);
    expect(positions(tail, EVEN, 0, 10, 2)).toEqual([[2, 4], 4]);
    expect(positions(tail, ALL, 4, 10, 100, 250)).toEqual([[5, 6], 6]);
    // A single one that is too large for a page is a page.
    expect(positions(tail, ALL, 4, 10, 100, 50)).toEqual([[5], 5]);
  });

  it("forgets the oldest beyond so many, and beyond so much", () => {
    const few = tailOf(1_000, { maxEntries: 10 });
    expect(few.after).toBe(990);
    expect(positions(few, ALL, 989)).toBeUndefined();
    expect(positions(few, ALL, 990)).toEqual([[991, 992, 993, 994, 995, 996, 997, 998, 999, 1000], 1000]);
    const little = tailOf(1_000, { maxLength: 350 });
    expect(positions(little, ALL, little.after)).toEqual([[998, 999, 1000], 1000]);
  });

  it("does not keep an entry that is larger than all it may keep", () => {
    const tail = tailOf(3, { maxLength: 350 });
    tail.push(entryAt(4, 1_000));
    expect(tail.after).toBe(4);
    expect(positions(tail, ALL, 4)).toEqual([[], 4]);
    tail.push(entryAt(5));
    expect(positions(tail, ALL, 4)).toEqual([[5], 5]);
  });
});

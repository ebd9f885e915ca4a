import { describe, expect, it } from "vitest";
import { type PastEvent, type PastGap, withGaps } from "../../../dashboard-client/page/api/history.ts";

const at = "2026-03-01T06:30:00.000Z";
const event = (position: number, epoch = "e2"): PastEvent => ({
  ...{ epoch, position, accepted_at: at, kind: "event", event: "tick", timestamp: at },
});
const gap = (after: number, epoch = "e2"): PastGap => ({ epoch, after, reason: "trimmed", noticed_at: at });
const order = (events: PastEvent[], gaps: PastGap[]) =>
  withGaps(events, gaps).map((item) => ("gap" in item ? `gap ${item.gap.after}` : item.event.position));

describe("the gaps of the archive", () => {
  it("are between the events around them, newest first", () => {
    expect(order([event(9), event(8), event(3), event(2)], [gap(3), gap(1)])).toEqual([9, 8, "gap 3", 3, 2, "gap 1"]);
  });

  it("are in the epoch of their events, and are never left out", () => {
    const gaps = [gap(7, "e1"), gap(0)];
    expect(order([event(1), event(9, "e1"), event(7, "e1")], gaps)).toEqual([1, 9, "gap 7", 7, "gap 0"]);
    expect(order([], [gap(4)])).toEqual(["gap 4"]);
  });
});

import { expect, it } from "vitest";
import { OutageNotice } from "../../../bridge/websocket/outage-notice.ts";

it("the outage notice reports the beginning of an outage once, however long the outage lasts", () => {
  let unavailableReason: string | undefined;
  const notice = new OutageNotice(() => unavailableReason);
  expect(notice.begins(0)).toBe(false);
  unavailableReason = "disconnected";
  expect(notice.isOngoing).toBe(false);
  expect([1_000, 2_000, 600_000].map((now) => notice.begins(now))).toEqual([true, false, false]);
  expect(notice.isOngoing).toBe(true);
});

it("the outage notice regards outages less than five seconds apart as one outage, and a later failure as a new outage", () => {
  let unavailableReason: string | undefined = "disconnected";
  const notice = new OutageNotice(() => unavailableReason);
  expect(notice.begins(0)).toBe(true);
  for (let now = 250; now <= 5_000; now += 250) {
    unavailableReason = now % 500 === 0 ? "disconnected" : undefined;
    expect(notice.begins(now)).toBe(false);
  }
  unavailableReason = undefined;
  expect([7_000, 10_250].map((now) => notice.begins(now))).toEqual([false, false]);
  expect(notice.isOngoing).toBe(false);
  unavailableReason = "disconnected again";
  expect(notice.begins(10_500)).toBe(true);
});

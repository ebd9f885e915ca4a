import { expect, it } from "vitest";
import { OutageNotice } from "../../../bridge/websocket/outage-notice.ts";

it("an outage begins once, however long it lasts", () => {
  let trouble: string | undefined;
  const notice = new OutageNotice(() => trouble);
  expect(notice.begins(0)).toBe(false);
  trouble = "away";
  expect(notice.isOngoing).toBe(false);
  expect([1_000, 2_000, 600_000].map((now) => notice.begins(now))).toEqual([true, false, false]);
  expect(notice.isOngoing).toBe(true);
});

it("one that comes and goes within five seconds is one, and after a longer rest it is another", () => {
  let trouble: string | undefined = "away";
  const notice = new OutageNotice(() => trouble);
  expect(notice.begins(0)).toBe(true);
  for (let now = 250; now <= 5_000; now += 250) {
    trouble = now % 500 === 0 ? "away" : undefined;
    expect(notice.begins(now)).toBe(false);
  }
  trouble = undefined;
  expect([7_000, 10_250].map((now) => notice.begins(now))).toEqual([false, false]);
  expect(notice.isOngoing).toBe(false);
  trouble = "away again";
  expect(notice.begins(10_500)).toBe(true);
});

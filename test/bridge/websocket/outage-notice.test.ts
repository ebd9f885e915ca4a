import { expect, it } from "vitest";
import { OutageNotice } from "../../../bridge/websocket/outage-notice.ts";

it("the outage notice is new to each client once, however long the outage lasts", () => {
  let unavailableReason: string | undefined;
  const notice = new OutageNotice(() => unavailableReason);
  const [client, later] = [{}, {}];
  expect(notice.check(0)).toBe(false);
  unavailableReason = "disconnected";
  expect(notice.isOngoing).toBe(false);
  expect(notice.check(1_000)).toBe(true);
  expect(notice.isOngoing).toBe(true);
  expect([notice.isNewTo(client), notice.isNewTo(client)]).toEqual([true, false]);
  expect(notice.check(600_000)).toBe(true);
  expect([notice.isNewTo(client), notice.isNewTo(later)]).toEqual([false, true]);
});

it("the outage notice regards outages less than five seconds apart as one outage, which is new to clients that connected in between", () => {
  let unavailableReason: string | undefined = "disconnected";
  const notice = new OutageNotice(() => unavailableReason);
  const [client, between] = [{}, {}];
  notice.check(0);
  notice.isNewTo(client);
  for (let now = 250; now <= 5_000; now += 250) {
    unavailableReason = now % 500 === 0 ? "disconnected" : undefined;
    expect(notice.check(now)).toBe(unavailableReason !== undefined);
    expect(notice.isNewTo(client)).toBe(false);
  }
  expect([notice.isNewTo(between), notice.isNewTo(between)]).toEqual([true, false]);
  unavailableReason = undefined;
  expect([7_000, 10_250].map((now) => notice.check(now))).toEqual([false, false]);
  expect(notice.isOngoing).toBe(false);
  unavailableReason = "disconnected again";
  expect(notice.check(10_500)).toBe(true);
  expect(notice.isNewTo(client)).toBe(true);
});

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { noteServerTime, serverNow } from "../../../dashboard-client/page/server-time.ts";

const HOUR_MS = 3_600_000;
const difference = (): number => serverNow() - Date.now();

/** A response that took `tookMs`, from a server whose clock is ahead by `aheadMs`. */
function respond(aheadMs: number, tookMs = 100): void {
  const now = Date.now();
  noteServerTime(new Date(now + aheadMs).toUTCString(), now - tookMs, now);
}

describe("the server's time", () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"] }));
  afterEach(() => {
    respond(0);
    vi.useRealTimers();
  });

  it("is that of this machine before a response, and while the clocks agree", () => {
    expect(difference()).toBe(0);
    respond(1000);
    expect(difference()).toBe(0);
  });

  it("follows a server whose clock differs", () => {
    for (const ahead of [HOUR_MS, -HOUR_MS]) {
      respond(ahead);
      expect(Math.abs(difference() - ahead)).toBeLessThan(2000);
    }
  });

  it("ignores a response without a time, and one that took long", () => {
    noteServerTime(null, Date.now());
    respond(HOUR_MS, 60_000);
    expect(difference()).toBe(0);
  });
});

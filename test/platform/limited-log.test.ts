import { describe, expect, it, onTestFinished } from "vitest";
import { LimitedLog } from "../../platform/limited-log.ts";

function limitedLog() {
  let now = 0;
  const lines: string[] = [];
  const log = new LimitedLog({ now: () => now });
  onTestFinished(() => log.stop());
  return {
    log,
    lines,
    note: (key: string) => log.note(key, (times) => lines.push(`${key} ${times}`)),
    advance: (ms: number) => {
      now += ms;
    },
  };
}

describe("a limited log", () => {
  it("logs the first occurrence of each key at once, and counts the others", () => {
    const { note, lines } = limitedLog();
    for (let n = 0; n < 1000; n++) note("a");
    note("b");
    expect(lines).toEqual(["a 1", "b 1"]);
  });

  it("logs the number of further occurrences once a minute", () => {
    const { note, lines, advance } = limitedLog();
    for (let minute = 0; minute < 3; minute++) {
      for (let n = 0; n < 100; n++) note("a");
      advance(60_000);
    }
    note("b");
    expect(lines).toEqual(["a 1", "a 99", "a 100", "a 100", "b 1"]);
  });

  it("logs the next occurrence at once after a minute without occurrences", () => {
    const { note, lines, advance } = limitedLog();
    note("a");
    advance(60_000);
    note("a");
    expect(lines).toEqual(["a 1", "a 1"]);
  });

  it("logs the counted occurrences even without a further occurrence", async () => {
    const lines: number[] = [];
    const log = new LimitedLog({ intervalMs: 20 });
    onTestFinished(() => log.stop());
    for (let n = 0; n < 5; n++) log.note("a", (times) => lines.push(times));
    await expect.poll(() => lines).toEqual([1, 4]);
  });

  it("counts a limited number of keys, and logs the oldest key early when a further key arrives", () => {
    const { note, lines } = limitedLog();
    note("first");
    note("first");
    for (let n = 0; n < 10_000; n++) note(String(n));
    expect(lines.filter((line) => line.startsWith("first"))).toEqual(["first 1", "first 1"]);
  });

  it("logs the counted occurrences when it stops", () => {
    const { note, log, lines } = limitedLog();
    for (let n = 0; n < 4; n++) note("a");
    log.stop();
    expect(lines).toEqual(["a 1", "a 3"]);
  });
});

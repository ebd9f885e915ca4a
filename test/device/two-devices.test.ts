import { pino } from "pino";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { startCamera } from "../../device/agent.ts";
import { ReconnectPolicy } from "../../device/link/reconnect-policy.ts";
import { configFor, openBroker, smallCamera } from "./support/cameras.ts";

const MINUTE = 60_000;
const reconnect = { minMs: 1000, maxMs: 5 * MINUTE };
const error = (code: string): Error => Object.assign(new Error(code), { code });
/** A random number that gives the longest wait. */
const most = (): number => 1;

describe("the reconnect policy", () => {
  it("resets the back-off after a stable link", () => {
    const policy = new ReconnectPolicy(reconnect);
    for (let time = 0; time < 5; time++) policy.after({ lastedMs: undefined, error: error("ECONNREFUSED") });
    expect(policy.after({ lastedMs: 2 * MINUTE, error: undefined }, most).waitMs).toBe(1000);
  });

  it("continues the back-off after a link that the server closed early, whatever the error", () => {
    const policy = new ReconnectPolicy(reconnect);
    const waits = [undefined, error("ECONNRESET"), error("EPIPE"), undefined].map(
      (reason) => policy.after({ lastedMs: 30_000, error: reason }, most).waitMs,
    );
    expect(waits).toEqual([1000, 2000, 4000, 8000]);
  });

  it("resets the back-off after a useful link that broke by itself", () => {
    const policy = new ReconnectPolicy(reconnect);
    const waitAfter = (lastedMs: number) => policy.after({ lastedMs, error: error("ETIMEDOUT") }, most).waitMs;
    expect([waitAfter(1000), waitAfter(1000), waitAfter(6000)]).toEqual([1000, 2000, 1000]);
  });

  it("reports how many links in a row the server closed early, from the third on", () => {
    const policy = new ReconnectPolicy(reconnect);
    const times = (lastedMs: number | undefined) => policy.after({ lastedMs, error: undefined }).closedInARow;
    expect([times(10), times(10), times(10), times(undefined), times(10)]).toEqual([
      ...[undefined, undefined, 3, undefined, 4],
    ]);
    expect([times(MINUTE), times(10)]).toEqual([undefined, undefined]);
  });

  it("lets two devices with the same id connect less than three times a minute over an hour", () => {
    expect(connectionsOf(60 * MINUTE)).toBeLessThan(3 * 60);
  });
});

/** Simulates two devices that disconnect each other. @returns how often they connect in the given time */
function connectionsOf(ms: number): number {
  const devices = [new ReconnectPolicy(reconnect), new ReconnectPolicy(reconnect)];
  // The same random numbers in every run.
  let state = 1;
  const random = (): number => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
  const due = [0, 500];
  let holder: { index: number; since: number } | undefined;
  let connections = 0;
  for (;;) {
    const [first = 0, second = 0] = due;
    const index = first <= second ? 0 : 1;
    const at = due[index] ?? 0;
    if (at > ms) return connections;
    connections++;
    if (holder !== undefined) {
      const disconnected = devices[holder.index]?.after({ lastedMs: at - holder.since, error: undefined }, random);
      due[holder.index] = at + (disconnected?.waitMs ?? 0);
    }
    holder = { index, since: at };
    due[index] = Number.POSITIVE_INFINITY;
  }
}

describe("two devices with the same id", () => {
  it("log the reason and the time of the reconnect", async () => {
    const broker = await openBroker();
    const logs = ["first", "second"].map(() => [] as string[]);
    for (const lines of logs) {
      const logger = pino({ level: "warn" }, { write: (line: string) => lines.push(line) });
      const config = configFor(broker, { reconnect: { minMs: 20, maxMs: 60_000 } });
      const agent = await startCamera({ config, camera: smallCamera(), logger });
      onTestFinished(() => agent.stop());
    }
    for (const lines of logs) {
      const line = await vi.waitUntil(() => lines.find((text) => text.includes("another device")));
      expect(line).toMatch(/"times":3,"nextTryS":\d+,"msg":".*uses this camera id.*its own CAMERA_ID/);
    }
  });
});

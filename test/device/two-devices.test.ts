import { pino } from "pino";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { startCamera } from "../../device/agent.ts";
import { ReconnectPolicy } from "../../device/link/reconnect-policy.ts";
import { configFor, openBroker, smallCamera } from "./support/cameras.ts";

const MINUTE = 60_000;
const reconnect = { minMs: 1000, maxMs: 5 * MINUTE };
const error = (code: string): Error => Object.assign(new Error(code), { code });
/** The longest wait. */
const most = (): number => 1;

describe("the back-off", () => {
  it("begins anew after a link that has lasted", () => {
    const reconnects = new ReconnectPolicy(reconnect);
    for (let time = 0; time < 5; time++) reconnects.after({ lastedMs: undefined, error: error("ECONNREFUSED") });
    expect(reconnects.after({ lastedMs: 2 * MINUTE, error: undefined }, most).waitMs).toBe(1000);
  });

  it("goes on after a link that the server ended soon, in whichever way", () => {
    const reconnects = new ReconnectPolicy(reconnect);
    const waits = [undefined, error("ECONNRESET"), error("EPIPE"), undefined].map(
      (reason) => reconnects.after({ lastedMs: 30_000, error: reason }, most).waitMs,
    );
    expect(waits).toEqual([1000, 2000, 4000, 8000]);
  });

  it("begins anew after a link that broke by itself, had it but carried something", () => {
    const reconnects = new ReconnectPolicy(reconnect);
    const waitAfter = (lastedMs: number) => reconnects.after({ lastedMs, error: error("ETIMEDOUT") }, most).waitMs;
    expect([waitAfter(1000), waitAfter(1000), waitAfter(6000)]).toEqual([1000, 2000, 1000]);
  });

  it("tells how often in a row the server ended the link soon, from the third time on", () => {
    const reconnects = new ReconnectPolicy(reconnect);
    const times = (lastedMs: number | undefined) => reconnects.after({ lastedMs, error: undefined }).closedInARow;
    expect([times(10), times(10), times(10), times(undefined), times(10)]).toEqual([
      ...[undefined, undefined, 3, undefined, 4],
    ]);
    expect([times(MINUTE), times(10)]).toEqual([undefined, undefined]);
  });

  it("lets two devices with one id connect fewer than three times a minute over an hour", () => {
    expect(connectionsOf(60 * MINUTE)).toBeLessThan(3 * 60);
  });
});

/** Two devices that take one link from each other: who comes last has it. @returns how often they connected in so long */
function connectionsOf(ms: number): number {
  const devices = [new ReconnectPolicy(reconnect), new ReconnectPolicy(reconnect)];
  // A random number that is the same at every run.
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
      const thrownOut = devices[holder.index]?.after({ lastedMs: at - holder.since, error: undefined }, random);
      due[holder.index] = at + (thrownOut?.waitMs ?? 0);
    }
    holder = { index, since: at };
    due[index] = Number.POSITIVE_INFINITY;
  }
}

describe("two devices with one id", () => {
  it("both say in their logs what it is, and when they try again", async () => {
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
      expect(line).toMatch(/"times":3,"nextTryS":\d+,"msg":".*uses this camera id.*CAMERA_ID of its own/);
    }
  });
});

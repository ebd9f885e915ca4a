import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestBridge } from "../bridge/support/test-bridge.ts";
import { JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";
import { type RawHttp, rawHttp, statusesOf } from "./raw-http.ts";
import { frame, upgradeRequest } from "./raw-web-socket.ts";

const CROWD = 1000;
const AT_ONCE = 50;
/** Half of MAX_CONNECTIONS_PER_ADDRESS: the most that may be unauthenticated at once. */
const ADMITTED = 50;
const ATTACKER = "127.0.0.66";
/** Memory that 1,000 connections may cost, including refused connections and their log lines. */
const MAX_GROWTH_BYTES = 64 * 1024 * 1024;
const dataPath = makeDataPath();
let skylapse: Skylapse;

beforeAll(async () => {
  skylapse = await startSkylapse({ dataPath, env: { JWT_SECRET, AUTH_TIMEOUT_MS: "5000", LOG_LEVEL: "info" } });
});
afterAll(async () => {
  await skylapse.end();
  removeDataPath(dataPath);
});

const portOf = (url: string) => Number(new URL(url).port);
function residentBytes(): number {
  const status = readFileSync(`/proc/${skylapse.process.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}
async function answered({ received, socket }: RawHttp): Promise<number> {
  while (!received().includes("\r\n\r\n")) await new Promise((resolve) => socket.once("data", resolve));
  return statusesOf(received())[0] ?? 0;
}
async function event(): Promise<void> {
  const body = JSON.stringify({ event: "weather.warning" });
  const headers = { authorization: `Bearer ${signToken("writer", ["broadcast:write"])}` };
  expect((await fetch(`${skylapse.http}/broadcast`, { method: "POST", headers, body })).status).toBe(200);
}

describe(`${CROWD} WebSockets without a token from one address`, () => {
  it("are refused except for a few, which time out with 4001, and disturb no other client", {
    timeout: 60_000,
  }, async () => {
    const token = signToken("alice", ["dashboard:read"]);
    const dashboard = await openDashboard(skylapse.socket, token);
    const before = residentBytes();
    const statuses: number[] = [];
    const held: RawHttp[] = [];
    for (let done = 0; done < CROWD; done += AT_ONCE) {
      const some = await Promise.all(
        Array.from({ length: AT_ONCE }, () => rawHttp(portOf(skylapse.socket), upgradeRequest(), ATTACKER)),
      );
      held.push(...some);
      statuses.push(...(await Promise.all(some.map(answered))));
      // On a slow machine, the first sockets time out before the last sockets connect. The client may read the close of
      // a socket after the answer to the socket that takes its place. So the test waits for one turn of the event loop.
      await new Promise((resolve) => setImmediate(resolve));
      const waiting = held.filter(
        ({ socket, received }, index) =>
          statuses[index] === 101 && !socket.closed && !received().includes("Authentication timeout"),
      );
      expect(waiting.length).toBeLessThanOrEqual(ADMITTED);
    }
    const admitted = statuses.filter((status) => status === 101).length;
    expect(admitted).toBeGreaterThanOrEqual(ADMITTED);
    expect(statuses.filter((status) => status === 429)).toHaveLength(CROWD - admitted);

    await event();
    expect(await dashboard.next("dashboard_event", ({ event: name }) => name === "weather.warning")).toBeDefined();
    await (await openDashboard(skylapse.socket, token)).close();
    expect(residentBytes() - before).toBeLessThan(MAX_GROWTH_BYTES);

    const ends = await Promise.all(held.filter((_, index) => statuses[index] === 101).map(({ ended }) => ended));
    for (const end of ends) expect(end).toContain("Authentication timeout");
    expect(dashboard.socket.readyState).toBe(1);
  });

  it("write few lines to the log, and are counted in the audit log", async () => {
    await skylapse.end();
    const lines = (text: string) => text.split("\n").filter((line) => line.includes(ATTACKER));
    expect(lines(skylapse.output()).length).toBeLessThan(10);
    const audit = lines(readFileSync(`${dataPath}/audit.log`, "utf8")).map((line) => JSON.parse(line));
    expect(audit.length).toBeLessThan(50);
    const counted = audit.map(({ outcome }) => Number(/^(\d+) more refused$/.exec(outcome)?.[1] ?? 1));
    expect(counted.reduce((sum, count) => sum + count, 0)).toBe(CROWD);
  });
});

it("the limit treats one IPv6 network as one address", async () => {
  const bridge = await startTestBridge({ env: { TRUSTED_PROXIES: "127.0.0.1", MAX_CONNECTIONS_PER_ADDRESS: "6" } });
  const open = async (address: string) => {
    const headers = [`X-Forwarded-For: ${address}`];
    const peer = await rawHttp(bridge.port, upgradeRequest({ headers }));
    return [await answered(peer), peer] as const;
  };
  const statuses = [];
  for (let host = 1; host <= 5; host++) statuses.push((await open(`2001:db8:0:7::${host}`))[0]);
  expect(statuses).toEqual([101, 101, 101, 429, 429]);
  const [status, { socket, received }] = await open("2001:db8:0:8::1");
  expect(status).toBe(101);
  socket.write(frame(JSON.stringify({ type: "auth", token: bridge.mint("dashboard:read") })));
  await expect.poll(received).toContain("auth_success");
  await bridge.stop();
});

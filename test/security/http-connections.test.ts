import { readFileSync } from "node:fs";
import { PassThrough } from "node:stream";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { Admission } from "../../bridge/websocket/admission.ts";
import { startTestBridge, type TestBridge } from "../bridge/support/test-bridge.ts";
import { JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";
import { lines, type RawHttp, rawHttp, statusesOf } from "./raw-http.ts";
import { frame, UPGRADE } from "./raw-web-socket.ts";

const ATTACKER = "127.0.0.66";
const PROXY = "127.0.0.67";
const GET = lines("GET /health HTTP/1.1", "Host: 127.0.0.1");
const GET_ONCE = lines("GET /health HTTP/1.1", "Host: 127.0.0.1", "Connection: close");

async function limited(env: Record<string, string>): Promise<TestBridge> {
  const bridge = await startTestBridge({ env: { MAX_HTTP_CONNECTIONS_PER_ADDRESS: "2", ...env } });
  onTestFinished(() => bridge.stop());
  return bridge;
}

/** Resolves once the server has answered on the connection. Rejects when the connection ends first. */
async function served(port: number, address: string): Promise<RawHttp> {
  const peer = await rawHttp(port, GET, address);
  await until(peer, /^HTTP\/1\.1 200 /);
  return peer;
}

async function until({ socket, received, ended }: RawHttp, text: RegExp): Promise<void> {
  const end = ended.then(() => true);
  while (!text.test(received())) {
    const arrived = new Promise((resolve) => socket.once("data", () => resolve(false)));
    if ((await Promise.race([end, arrived])) && !text.test(received())) throw new Error(`ended with "${received()}"`);
  }
}

/** Everything that the server sends on another connection. */
async function oneMore(port: number, address: string): Promise<string> {
  return await (await rawHttp(port, GET_ONCE, address)).ended;
}

describe("MAX_HTTP_CONNECTIONS_PER_ADDRESS", () => {
  it("closes a connection above the limit at once without an answer, and admits a new connection after another has closed", async () => {
    const { port } = await limited({});
    const held = [await served(port, ATTACKER), await served(port, ATTACKER)];
    expect(await oneMore(port, ATTACKER)).toBe("");
    expect(statusesOf(await oneMore(port, "127.0.0.1"))).toEqual([200]);
    held[0]?.socket.destroy();
    await expect.poll(() => oneMore(port, ATTACKER)).toMatch(/^HTTP\/1\.1 200 /);
    expect(held[1]?.socket.closed).toBe(false);
  });

  it("counts connections that send nothing", async () => {
    const { port } = await limited({});
    const silent = [await rawHttp(port, "", ATTACKER), await rawHttp(port, "", ATTACKER)];
    expect(await oneMore(port, ATTACKER)).toBe("");
    for (const { socket } of silent) expect(socket.closed).toBe(false);
  });

  it("counts neither dashboards, which have limits of their own, nor refused upgrades that have ended", async () => {
    const bridge = await limited({ MAX_CONNECTIONS_PER_ADDRESS: "4", MAX_UNAUTHENTICATED_PER_ADDRESS: "4" });
    const dashboards: RawHttp[] = [];
    for (let n = 0; n < 4; n++) {
      const peer = await rawHttp(bridge.port, UPGRADE, ATTACKER);
      peer.socket.write(frame(JSON.stringify({ type: "auth", token: bridge.mint("dashboard:read") })));
      await until(peer, /auth_success/);
      dashboards.push(peer);
    }
    for (let n = 0; n < 4; n++)
      expect(statusesOf(await (await rawHttp(bridge.port, UPGRADE, ATTACKER)).ended)).toEqual([429]);
    const plain = [await served(bridge.port, ATTACKER), await served(bridge.port, ATTACKER)];
    expect(await oneMore(bridge.port, ATTACKER)).toBe("");

    for (const { socket } of [...dashboards, ...plain]) socket.destroy();
    await expect.poll(() => oneMore(bridge.port, ATTACKER)).toMatch(/^HTTP\/1\.1 200 /);
    await served(bridge.port, ATTACKER);
    await served(bridge.port, ATTACKER);
    expect(await oneMore(bridge.port, ATTACKER)).toBe("");
  });

  it("does not limit a trusted proxy, which connects for many clients", async () => {
    const { port } = await limited({ TRUSTED_PROXIES: PROXY });
    for (let n = 0; n < 10; n++) await served(port, PROXY);
    await served(port, ATTACKER);
    await served(port, ATTACKER);
    expect(await oneMore(port, ATTACKER)).toBe("");
  });

  it("counts all IPv6 addresses of one network as one address", () => {
    const admission = new Admission({
      ...{ maxConnections: 9, maxConnectionsPerAddress: 9, maxUnauthenticated: 9, maxUnauthenticatedPerAddress: 9 },
      ...{ maxConnectsPerMinute: 9, maxHttpConnectionsPerAddress: 2 },
    });
    const addresses = ["2001:db8:0:7::1", "2001:db8:0:7::2", "2001:db8:0:7::3", "2001:db8:0:8::1"];
    const admitted = addresses.map((address) => admission.admitHttp(new PassThrough(), address));
    expect(admitted).toEqual([true, true, false, true]);
  });
});

describe("5,000 connections from one address that send nothing", () => {
  const CROWD = 5_000;
  const AT_ONCE = 250;
  /** Ten times MAX_CONNECTIONS_PER_ADDRESS. */
  const ADMITTED = 1_000;
  /** Memory for the connections that are admitted. Refused connections must cost nothing. */
  const MAX_GROWTH_BYTES = 48 * 1024 * 1024;
  const dataPath = makeDataPath();
  let skylapse: Skylapse;

  beforeAll(async () => {
    // A long timeout, so that no silent connection is closed before all have connected.
    const env = { JWT_SECRET, REQUEST_TIMEOUT_MS: "120000", SIMULATOR: "0", LOG_LEVEL: "info" };
    skylapse = await startSkylapse({ dataPath, env });
  });
  afterAll(async () => {
    await skylapse.end();
    removeDataPath(dataPath);
  });

  function residentBytes(): number {
    const status = readFileSync(`/proc/${skylapse.process.pid}/status`, "utf8");
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
  }

  it("are closed at once except for the first 1,000, cost little memory, and disturb no other client", {
    timeout: 60_000,
  }, async () => {
    const port = Number(new URL(skylapse.http).port);
    const dashboard = await openDashboard(skylapse.socket, signToken("alice", ["dashboard:read"]));
    const before = residentBytes();
    const held: RawHttp[] = [];
    for (let done = 0; done < CROWD; done += AT_ONCE) {
      const some = Array.from({ length: AT_ONCE }, () => rawHttp(port, "", ATTACKER));
      held.push(...(await Promise.all(some)));
    }
    await Promise.all(held.slice(ADMITTED).map(({ ended }) => ended));
    expect(held.slice(0, ADMITTED).filter(({ socket }) => socket.closed)).toEqual([]);
    expect(residentBytes() - before).toBeLessThan(MAX_GROWTH_BYTES);
    const body = JSON.stringify({ event: "weather.warning" });
    const headers = { authorization: `Bearer ${signToken("writer", ["broadcast:write"])}` };
    expect((await fetch(`${skylapse.http}/broadcast`, { method: "POST", headers, body })).status).toBe(200);
    expect(await dashboard.next("dashboard_event", ({ event }) => event === "weather.warning")).toBeDefined();
  });

  it("write few lines to the log, and are counted in the audit log", async () => {
    await skylapse.end();
    const ofAttacker = (text: string) => text.split("\n").filter((line) => line.includes(ATTACKER));
    expect(ofAttacker(skylapse.output()).length).toBeLessThan(10);
    const audit = ofAttacker(readFileSync(`${dataPath}/audit.log`, "utf8")).map((line) => JSON.parse(line));
    expect(audit[0]).toMatchObject({
      ...{ action: "connect", who: "unknown", address: ATTACKER, target: "http" },
      outcome: "too many connections from this address",
    });
    expect(audit.length).toBeLessThan(50);
    const counted = audit.map(({ outcome }) => Number(/^(\d+) more refused$/.exec(outcome)?.[1] ?? 1));
    expect(counted.reduce((sum, count) => sum + count, 0)).toBe(CROWD - ADMITTED);
  });
});

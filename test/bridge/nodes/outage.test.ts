import { readFile } from "node:fs/promises";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { openRedis, type RedisConnections } from "../../../platform/redis/connections.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { startRunningClock } from "../../support/running-clock.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";
import { connect } from "../websocket/client.ts";

const CAPTURED = "cameras/north/events/capture.completed";
/** How long the bridge waits for a reply of Redis. */
const COMMAND_TIMEOUT_MS = 2_000;

let server: RedisServer;
let access: RedisConnections;
let bridge: TestBridge;
let url: string;
let token: string;

beforeEach(async () => {
  server = await startRedis();
  access = openRedis({
    ...{ url: server.url, prefix: "outage", commandTimeoutMs: COMMAND_TIMEOUT_MS, logger: pino({ level: "silent" }) },
  });
  bridge = await startTestBridge({
    env: { MAX_TOKEN_REQUESTS_PER_MINUTE: "2" },
    redis: {
      access,
      cluster: { heartbeatMs: 200 },
    },
  });
  url = `ws://127.0.0.1:${bridge.port}/ws`;
  token = bridge.mint("dashboard:read", "camera:read", "camera:control", "broadcast:write");
});
afterEach(async () => {
  server.process.kill("SIGCONT");
  await bridge.stop();
  await access.close();
  await server.remove();
});

const OUTAGES: { name: string; begin: () => Promise<void>; end: () => Promise<void> }[] = [
  { name: "is stopped", begin: () => server.stop("SIGKILL"), end: () => server.start() },
  {
    name: "hangs",
    begin: async () => {
      server.process.kill("SIGSTOP");
      const state = async () => / T /.test(await readFile(`/proc/${server.process.pid}/stat`, "utf8"));
      await vi.waitFor(async () => expect(await state()).toBe(true));
    },
    end: async () => {
      server.process.kill("SIGCONT");
    },
  },
];

const readyz = async () => (await bridge.call("/readyz")).status;

describe.each(OUTAGES)("while Redis $name", ({ begin, end }) => {
  it("the bridge counts the requests for tokens by itself", async () => {
    await begin();
    const mint = async () => {
      const body = { user_id: "bob", permissions: ["dashboard:read"] };
      return (await bridge.call("/auth/token", { method: "POST", token: OPERATOR_KEY, body })).status;
    };
    expect([await mint(), await mint(), await mint()]).toEqual([200, 200, 429]);
    await end();
  });

  it("the bridge keeps sockets open, notifies their clients once, refuses requests that need the store with 130, and continues afterwards", async () => {
    const clients = [await connect(url, token), await connect(url, token)];
    for (const client of clients) await client.subscribe("camera:north");
    await bridge.say(CAPTURED, { n: 1 });
    for (const client of clients) await client.next("dashboard_event", ({ event }) => event === "capture.completed");
    const [first] = clients;
    if (first === undefined) throw new Error("no client");
    const { epoch } = bridge.journal;
    await begin();

    for (const client of clients)
      expect(await client.next("error")).toEqual({
        type: "error",
        code: 130,
        error: "The event store is unavailable: events that happen meanwhile follow when it is back",
      });
    await vi.waitFor(async () => expect(await readyz()).toBe(503));
    expect((await bridge.call("/livez")).status).toBe(200);

    const elapsedMs = startRunningClock();
    expect(await first.subscribe("camera:south", { epoch, position: 1 })).toMatchObject({ success: false, code: 130 });
    first.send({ type: "command", id: 5, camera: "north", name: "reboot", args: {}, expires_in: 10 });
    expect(await first.next("command_result")).toMatchObject({ id: 5, status: "rejected", code: 130 });
    const broadcast = await bridge.call("/broadcast", { method: "POST", token, body: { event: "a.b" } });
    expect([broadcast.status, broadcast.body.error.code]).toEqual([503, "store_unavailable"]);
    expect(elapsedMs()).toBeLessThan(2 * COMMAND_TIMEOUT_MS);

    const newClient = await connect(url, token);
    expect(await newClient.next("error")).toMatchObject({ code: 130 });
    expect(await newClient.subscribe("camera:north")).toMatchObject({ success: true });

    await end();
    await vi.waitFor(async () => expect(await readyz()).toBe(200));
    await bridge.say(CAPTURED, { n: 2 });
    const found = await Promise.all(
      [...clients, newClient].map((client) =>
        client.next("dashboard_event", ({ data }) => JSON.stringify(data) === '{"n":2}'),
      ),
    );
    expect(new Set(found.map(({ position }) => position)).size).toBe(1);
    const resumed = await first.subscribe("camera:south", { epoch, position: 1 });
    expect(resumed).toMatchObject({ success: true, recovered: true });
    for (const client of [...clients, newClient]) {
      expect(client.ws.readyState).toBe(1);
      expect(client.messages.filter(({ type }) => type === "error")).toHaveLength(1);
    }
  });

  it("the bridge delivers the rest of a backfill after the outage", async () => {
    const { epoch } = bridge.journal;
    const after = bridge.journal.head;
    const sent = Array.from({ length: 1_500 }, (_, index) => index);
    // Publishes more entries than a node caches.
    for (let at = 0; at < sent.length; at += 150)
      await Promise.all(sent.slice(at, at + 150).map((n) => bridge.say(CAPTURED, { n })));
    const client = await connect(url, token);
    await begin();
    client.send({ type: "subscribe", channel: "camera:north", since: { epoch, position: after } });
    const { success } = await client.next("subscription_result");
    // The subscription fails only if the node had already noticed the outage.
    if (!success) expect(bridge.cluster.unavailableReason ?? bridge.journal.unavailableReason).toBeDefined();
    await vi.waitFor(() => expect(client.messages.map(({ type }) => type)).toContain("error"));
    await end();
    if (!success) {
      await vi.waitFor(async () => expect(await readyz()).toBe(200));
      await client.subscribe("camera:north", { epoch, position: after });
    }
    await vi.waitFor(() => expect(client.messages.map(({ type }) => type)).toContain("caught_up"));
    expect(client.dashboardEvents.filter(({ event }) => event === "capture.completed").map(({ data }) => data)).toEqual(
      sent.map((n) => ({ n })),
    );
  });
});

describe("a Redis that restarts without its data", () => {
  it("is reported to connected clients as a gap, and new events follow", async () => {
    const client = await connect(url, token);
    await client.subscribe("camera:north");
    await bridge.say("cameras/north/state/power", { volts: 12 }, true);
    for (let n = 0; n < 10; n++) await bridge.say(CAPTURED, { n });
    await client.next("dashboard_event", ({ data }) => JSON.stringify(data) === '{"n":9}');
    const { epoch } = bridge.journal;
    await server.stop("SIGKILL");
    await server.startEmpty();
    const gap = await client.next("subscription_result");
    expect(gap).toMatchObject({ channel: "camera:north", success: true, recovered: false, reason: "epoch_changed" });
    expect(gap.epoch).not.toBe(epoch);
    expect(gap.epoch).toBe(bridge.journal.epoch);
    await vi.waitFor(async () => expect(await readyz()).toBe(200));
    await bridge.say(CAPTURED, { n: 10 });
    const event = await client.next("dashboard_event", ({ data }) => JSON.stringify(data) === '{"n":10}');
    expect(event.position).toBe(bridge.journal.head);
    // A client that resumes in the new epoch receives the event, too.
    const later = await connect(url, token);
    expect(await later.subscribe("camera:north", { epoch: bridge.journal.epoch, position: 0 })).toMatchObject({
      recovered: true,
    });
    await later.next("dashboard_event", ({ data }) => JSON.stringify(data) === '{"n":10}');
  });
});

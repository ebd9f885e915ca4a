import { once } from "node:events";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { openRedis, type RedisAccess } from "../../deploy/redis.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { connect, TestClient } from "./realtime/client.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "./support/test-bridge.ts";

const logger = pino({ level: "silent" });
const NO_LIMITS = { MAX_CONNECTIONS_PER_ADDRESS: "0", SHUTDOWN_SPREAD_MS: "0" };
const FAST = { heartbeatMs: 200, nodeTimeoutMs: 2_000 };

let server: RedisServer;
let accesses: RedisAccess[];
let bridges: TestBridge[];
let prefix = 0;

beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.remove());
beforeEach(async () => {
  prefix++;
  [accesses, bridges] = [[], []];
  for (let index = 0; index < 3; index++) bridges.push(await startNode());
});
afterEach(async () => {
  await Promise.all(bridges.map((bridge) => bridge.stop()));
  await Promise.all(accesses.map((access) => access.close()));
});

async function startNode(env: Record<string, string> = {}): Promise<TestBridge> {
  const access = openRedis({ url: server.url, prefix: `nodes-${prefix}`, logger });
  accesses.push(access);
  return await startTestBridge({ env, redis: { access, cluster: FAST } });
}

function node(index: number): TestBridge {
  const bridge = bridges[index];
  if (bridge === undefined) throw new Error("no such node");
  return bridge;
}

const urlOf = ({ port }: TestBridge) => `ws://127.0.0.1:${port}/ws`;

describe("MAX_CONNECTIONS_PER_USER", () => {
  it("holds over all nodes: the newcomer is refused with 4004, and let in when another has left", async () => {
    const token = node(0).mint("dashboard:read");
    const clients = [];
    for (let index = 0; index < 5; index++) clients.push(await connect(urlOf(node(index % 3)), token));
    const refused = await new TestClient(urlOf(node(1))).opened();
    refused.send({ type: "auth", token });
    expect(await refused.next("auth_error")).toMatchObject({
      code: 4004,
      error: "More than 5 connections of one user: close another first",
    });
    expect((await refused.closed).code).toBe(4004);
    clients[0]?.ws.close();
    await vi.waitFor(() => connect(urlOf(node(2)), token));
  });

  it("forgets what a dead node had", async () => {
    const token = node(0).mint("dashboard:read");
    for (let index = 0; index < 5; index++) await connect(urlOf(node(0)), token);
    await accesses[0]?.close();
    await vi.waitFor(() => connect(urlOf(node(1)), token), { timeout: 5_000, interval: 100 });
  });
});

describe("GET /stats", () => {
  it("has this node's figures, and those of all", async () => {
    const token = node(0).mint("dashboard:read");
    for (const index of [0, 0, 1]) await connect(urlOf(node(index)), token);
    await vi.waitFor(async () => {
      const { body } = await node(1).call("/stats");
      expect(body).toMatchObject({ total_connections: 1, cluster: { total_connections: 3 } });
      expect(body.cluster.nodes).toHaveLength(3);
      expect(body.cluster.nodes.map(({ id }: { id: string }) => id)).toContain(body.node.id);
    });
  });

  it("counts what happened at any node once, since the first start of the first node", async () => {
    await node(0).call("/broadcast", { method: "POST", body: { event: "a.b" } });
    await node(1).call("/broadcast", { method: "POST", body: { event: "a.b" } });
    await node(1).say("cameras/north/events/capture.completed", { n: 1 });
    const before = (await node(2).call("/stats")).body.totals;
    await vi.waitFor(
      async () => {
        const { totals } = (await node(2).call("/stats")).body;
        expect(totals).toMatchObject({ since: before.since, starts: 3, counts: { broadcasts: 2 } });
        // Each node also says itself what it is: some events more, but not each three times.
        expect(totals.counts.events).toBe(bridges.reduce((sum, { journal }) => Math.max(sum, journal.head), 0));
      },
      { timeout: 10_000, interval: 200 },
    );
    await Promise.all(bridges.map((bridge) => bridge.stop()));
    const next = await startNode();
    bridges.push(next);
    await vi.waitFor(async () =>
      expect((await next.call("/stats")).body.totals).toMatchObject({ starts: 4, counts: { broadcasts: 2 } }),
    );
  });
});

describe("/connections", () => {
  it("lists those of all nodes, and closes one of another node", async () => {
    const token = node(0).mint("dashboard:read");
    const clients = [];
    for (const index of [0, 1, 2]) clients.push(await connect(urlOf(node(index)), token));
    const { body } = await node(0).call("/connections", { token: OPERATOR_KEY });
    expect(body.connections).toHaveLength(3);
    expect(body).not.toHaveProperty("silent_nodes");
    const elsewhere = body.connections.find(
      ({ node: id }: { node: string }) => id === node(2).cluster.nodeId,
    ).connection_id;
    const end = clients[2]?.closed;
    const answer = await node(0).call(`/connections/${elsewhere}`, { method: "DELETE", token: OPERATOR_KEY });
    expect(answer.status).toBe(204);
    expect((await end)?.code).toBe(4005);
    expect(clients[1]?.ws.readyState).toBe(1);
    const none = await node(0).call(`/connections/${elsewhere}`, { method: "DELETE", token: OPERATOR_KEY });
    expect(none.status).toBe(404);
  });

  it("lists a thousand of another node, and says how many more there are", async () => {
    const [here, there] = [await startNode(), await startNode({ MAX_CONNECTIONS_PER_USER: "0", ...NO_LIMITS })];
    bridges.push(here, there);
    const token = there.mint("dashboard:read");
    await Promise.all(Array.from({ length: 1_003 }, () => connect(urlOf(there), token)));
    const { body } = await here.call("/connections", { token: OPERATOR_KEY });
    expect(body.connections).toHaveLength(1_000);
    expect(body.not_listed).toBe(3);
  });

  it("names the nodes that do not answer, within a moment", async () => {
    await connect(urlOf(node(1)), node(0).mint("dashboard:read"));
    const silent = node(2).cluster.nodeId;
    await accesses[2]?.close();
    const from = performance.now();
    const { body } = await node(0).call("/connections", { token: OPERATOR_KEY });
    expect(performance.now() - from).toBeLessThan(2_000);
    expect(body.connections).toHaveLength(1);
    expect(body.silent_nodes).toEqual([silent]);
  });
});

describe("an event", () => {
  it("that one node accepts is seen at all, under the same position", async () => {
    const token = node(0).mint("camera:read");
    const clients = [];
    for (const index of [0, 1, 2]) {
      const client = await connect(urlOf(node(index)), token);
      await client.subscribe("camera:north");
      clients.push(client);
    }
    await node(1).say("cameras/north/events/capture.completed", { n: 1 });
    const events = await Promise.all(
      clients.map((client) => client.next("dashboard_event", ({ event }) => event === "capture.completed")),
    );
    expect(new Set(events.map(({ position }) => position)).size).toBe(1);
  });
});

describe("the register", () => {
  it("that answers late lets a client send on before it knows, and loses nothing of it", async () => {
    const client = new TestClient(urlOf(node(0)));
    await once(client.ws, "open");
    client.send({ type: "auth", token: node(0).mint("dashboard:read"), id: 1 });
    client.send({ type: "subscribe", channel: "dashboard", id: 2 });
    client.send({ type: "ping", id: 3 });
    await client.next("pong");
    expect(client.messages.slice(0, 3).map(({ type }) => type)).toEqual([
      "auth_success",
      "subscription_result",
      "pong",
    ]);
  });
});

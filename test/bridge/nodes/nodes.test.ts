import { once } from "node:events";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { ReplyCode } from "../../../contract/codes.ts";
import { topicTree } from "../../../contract/topics.ts";
import { checkServer } from "../../../deploy/doctor/server.ts";
import { openRedis, type RedisConnections } from "../../../platform/redis/connections.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { startRunningClock } from "../../support/running-clock.ts";
import { type Answer, OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";
import { connect, TestClient } from "../websocket/client.ts";

const logger = pino({ level: "silent" });
const NO_LIMITS = { MAX_CONNECTIONS_PER_ADDRESS: "0", SHUTDOWN_SPREAD_MS: "0" };
const FAST = { heartbeatMs: 200, deadAfterMs: 3_000 };

let server: RedisServer;
let accesses: RedisConnections[];
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

const tree = topicTree();

/** Collects the events of a topic that are appended from now on. */
function follow({ journal }: TestBridge, topic: string): string[] {
  const events: string[] = [];
  journal.follow((entries) => {
    for (const entry of entries) if (entry.topic === topic) events.push(JSON.parse(`{${entry.body}}`).event);
  });
  return events;
}

const urlOf = ({ port }: TestBridge) => `ws://127.0.0.1:${port}/ws`;

it("the trace of an event names the node of each stage", async () => {
  const dashboard = await connect(urlOf(node(1)), node(1).mint("dashboard:read"));
  await dashboard.subscribe("dashboard");
  await dashboard.next("caught_up");
  const tick = { v: 1, id: "tick-1", timestamp: new Date().toISOString(), event: "tick" };
  await node(0).say("cameras/north/events/tick", tick);
  await dashboard.events(1);
  // The third node may read the event later than the second one.
  await vi.waitFor(async () => {
    const { body } = await node(2).call("/events/tick-1/trace", { token: OPERATOR_KEY });
    const at = (name: string) =>
      body.stages.flatMap(({ stage, node: id, count }: { stage: string; node: string; count?: number }) =>
        stage === name ? [[bridges.findIndex(({ cluster }) => cluster.nodeId === id), count]] : [],
      );
    expect([at("received"), at("durable")]).toEqual([[[0, undefined]], [[0, undefined]]]);
    expect(at("dashboards").sort()).toEqual([
      [0, 0],
      [1, 1],
      [2, 0],
    ]);
  });
});

it("settings that differ are in /readyz and in the report of doctor, at both nodes", async () => {
  const odd = await startNode({ RETENTION_EVENTS: "500" });
  bridges.push(odd);
  const differencesAt = async (bridge: TestBridge) => (await bridge.call("/readyz")).body.differences ?? [];
  const differsAt = ({ cluster }: TestBridge) =>
    `RETENTION_EVENTS differs at node ${cluster.nodeId}: set it to the same value at all nodes`;
  const [others, all] = [bridges.slice(0, 3), bridges.slice(0, 3).map(differsAt)];
  await vi.waitFor(async () => expect((await differencesAt(odd)).sort()).toEqual(all.sort()));
  for (const other of others)
    await vi.waitFor(async () => expect(await differencesAt(other)).toEqual([differsAt(odd)]));
  const url = `http://127.0.0.1:${odd.port}`;
  const found = await checkServer({ url, version: "1.2.3", key: () => OPERATOR_KEY, now: Date.now });
  const said = found.filter(({ verdict, subject }) => verdict === "warn" && subject === "nodes");
  expect(said.map(({ text }) => text).sort()).toEqual(all);
});

describe("MAX_CONNECTIONS_PER_USER", () => {
  it("applies to all nodes together: a further connection is refused with 4004, and accepted after another connection closes", async () => {
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

  it("does not include the connections of a dead node", async () => {
    const token = node(0).mint("dashboard:read");
    for (let index = 0; index < 5; index++) await connect(urlOf(node(0)), token);
    await accesses[0]?.close();
    await vi.waitFor(() => connect(urlOf(node(1)), token), { interval: 100 });
  });
});

describe("GET /stats", () => {
  it("has the metrics of this node and of all nodes", async () => {
    const token = node(0).mint("dashboard:read");
    for (const index of [0, 0, 1]) await connect(urlOf(node(index)), token);
    await vi.waitFor(async () => {
      const { body } = await node(1).call("/stats");
      expect(body).toMatchObject({ total_connections: 1, cluster: { total_connections: 3 } });
      expect(body.cluster.nodes).toHaveLength(3);
      expect(body.cluster.nodes.map(({ id }: { id: string }) => id)).toContain(body.node.id);
    });
  });

  it("counts the events of all nodes, each once, since the first start of the first node", async () => {
    await node(0).call("/broadcast", { method: "POST", body: { event: "a.b" } });
    await node(1).call("/broadcast", { method: "POST", body: { event: "a.b" } });
    await node(1).say("cameras/north/events/capture.completed", { n: 1 });
    const before = (await node(2).call("/stats")).body.totals;
    await vi.waitFor(
      async () => {
        const { totals } = (await node(2).call("/stats")).body;
        expect(totals).toMatchObject({ since: before.since, starts: 3, counts: { broadcasts: 2 } });
        // Each event of the journal counts once, not once for each node.
        expect(totals.counts.events).toBe(bridges.reduce((sum, { journal }) => Math.max(sum, journal.head), 0));
      },
      { interval: 200 },
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
  it("lists the connections of all nodes, and closes a connection of another node", async () => {
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

  it("lists a thousand connections of another node, with the number of further connections", async () => {
    const [here, there] = [await startNode(), await startNode({ MAX_CONNECTIONS_PER_USER: "0", ...NO_LIMITS })];
    bridges.push(here, there);
    const token = there.mint("dashboard:read");
    // Fewer at a time than the backlog of the listening socket: the kernel resets connections that wait there too long.
    for (let left = 1_003; left > 0; left -= 200)
      await Promise.all(Array.from({ length: Math.min(left, 200) }, () => connect(urlOf(there), token)));
    const { body } = await here.call("/connections", { token: OPERATOR_KEY });
    expect(body.connections).toHaveLength(1_000);
    expect(body.not_listed).toBe(3);
  });

  it("lists the nodes that do not answer, without a long wait", async () => {
    await connect(urlOf(node(1)), node(0).mint("dashboard:read"));
    const silent = node(2).cluster.nodeId;
    await accesses[2]?.close();
    const elapsedMs = startRunningClock();
    const { body } = await node(0).call("/connections", { token: OPERATOR_KEY });
    expect(elapsedMs()).toBeLessThan(10_000);
    expect(body.connections).toHaveLength(1);
    expect(body.silent_nodes).toEqual([silent]);
  });
});

describe("an event", () => {
  it("accepted by one node is delivered at all nodes, with the same position", async () => {
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

describe("a dashboard that resumes at a node", () => {
  it("which has not read the newest events yet misses nothing and gets nothing twice", async () => {
    const client = await connect(urlOf(node(1)), node(1).mint("camera:read"));
    // The node reads the log again a moment later.
    accesses[1]?.reading.interrupt();
    for (let n = 1; n <= 3; n++) await node(0).say("cameras/north/events/capture.completed", { n });
    const { epoch, head: position } = node(0).journal;
    expect(node(1).journal.head).toBeLessThan(position);
    client.send({ type: "subscribe", channel: "camera:north", since: { epoch, position } });
    client.send({ type: "ping", id: 3 });
    expect(await client.next("subscription_result")).toMatchObject({ success: true, recovered: true, position });
    await client.next("pong");
    await node(0).say("cameras/north/events/capture.completed", { n: 4 });
    const isCapture = ({ event }: { event: string }) => event === "capture.completed";
    expect(await client.next("dashboard_event", isCapture)).toMatchObject({ data: { n: 4 } });
  });

  it("gets a gap when its position does not exist", async () => {
    const client = await connect(urlOf(node(1)), node(1).mint("camera:read"));
    const { epoch, head } = node(1).journal;
    client.send({ type: "subscribe", channel: "camera:north", since: { epoch, position: head + 1_000 } });
    expect(await client.next("subscription_result")).toMatchObject({ recovered: false, reason: "ahead" });
  });
});

describe("a slow connection register", () => {
  it("does not lose the messages that a client sends meanwhile", async () => {
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

describe("a camera's presence", () => {
  const PRESENCE = tree.build({ kind: "camera-state", camera: "north", name: "presence" });
  const LINK = "cameras/north/link";
  const presenceAt = async (index: number) => (await node(index).call("/cameras/north", { token: OPERATOR_KEY })).body;

  beforeEach(async () => {
    await Promise.all(bridges.map((bridge) => bridge.stop()));
    bridges = [];
    for (let index = 0; index < 3; index++) bridges.push(await startNode({ PRESENCE_GRACE_MS: "100" }));
  });

  it("changes once, and is known at each node", async () => {
    const events = follow(node(2), PRESENCE);
    await node(1).say(LINK, { status: "online", session: "s1" }, true);
    for (const index of [0, 1, 2])
      await vi.waitFor(async () => expect((await presenceAt(index)).presence?.status).toBe("online"));
    await node(2).say(LINK, { status: "offline", session: "s1" }, true);
    await vi.waitFor(() => expect(events).toContain("camera.offline"));
    expect(events).toEqual(["camera.online", "camera.offline"]);
  });

  it("continues at another node when the watching node stops, and is not unknown on a new node", async () => {
    const events = follow(node(2), PRESENCE);
    await node(1).say(LINK, { status: "online", session: "s1" }, true);
    await vi.waitFor(() => expect(events).toEqual(["camera.online"]));
    const added = await startNode({ PRESENCE_GRACE_MS: "100" });
    bridges.push(added);
    await bridges[0]?.stop();
    // No node watches presence now. The next node that watches presence handles the message.
    await node(1).say(LINK, { status: "offline", session: "s1" }, true);
    await vi.waitFor(() => expect(events).toContain("camera.offline"));
    expect(events).toEqual(["camera.online", "camera.offline"]);
  });
});

describe("an alert", () => {
  it("is raised once by several nodes, and cleared once by the remaining nodes", async () => {
    const events = follow(node(2), tree.build({ kind: "camera-alert", camera: "north", name: "disk" }));
    const storage = (free_bytes: number) =>
      node(2).say("cameras/north/state/storage", { total_bytes: 100, free_bytes }, true);
    await storage(5);
    await vi.waitFor(() => expect(events).toEqual(["alert.raised"]));
    // The next node that watches alerts has the saved state, whichever node watched alerts before.
    await Promise.all([node(0).stop(), node(1).stop()]);
    await storage(50);
    await vi.waitFor(() => expect(events).toEqual(["alert.raised", "alert.cleared"]));
  });
});

describe("commands to one camera", () => {
  const command = { type: "command", camera: "north", name: "capture.now", args: {}, expires_in: 20 };

  async function commander(index: number): Promise<TestClient> {
    node(index).link.connections.add("device:north");
    return await connect(urlOf(node(index)), node(index).mint("camera:control"));
  }

  async function queued(count: number): Promise<void> {
    await vi.waitFor(async () => {
      const queue = await node(0).cluster.documents.get("command-queues", "north");
      expect(queue?.value ?? []).toHaveLength(count);
    });
  }

  async function answer(index: number): Promise<void> {
    const publication = node(index).link.publications.findLast(({ topic }) => topic.includes("/commands/"));
    const { id } = JSON.parse(String(publication?.payload));
    const reply = { command_id: id, status: "succeeded" };
    await node(index).say("cameras/north/replies/capture.now", reply);
  }

  it("from all nodes run one after the other, in the order in which they were issued", async () => {
    const clients = [await commander(0), await commander(1), await commander(2)];
    for (const [index, client] of clients.entries()) {
      client.send({ ...command, id: index });
      await queued(index + 1);
    }
    const sent = () => bridges.map(({ link }) => link.publications.filter(({ topic }) => topic.includes("/commands/")));
    await vi.waitFor(() => expect(sent().map(({ length }) => length)).toEqual([1, 0, 0]));
    await answer(0);
    await clients[0]?.next("command_result", ({ status }) => status === "succeeded");
    await vi.waitFor(() => expect(sent().map(({ length }) => length)).toEqual([1, 1, 0]));
    await answer(1);
    await vi.waitFor(() => expect(sent().map(({ length }) => length)).toEqual([1, 1, 1]));
    await answer(2);
    await clients[2]?.next("command_result", ({ status }) => status === "succeeded");
    await queued(0);
  });

  it("share MAX_COMMANDS_PER_CAMERA over all nodes", async () => {
    const tight = await startNode({ MAX_COMMANDS_PER_CAMERA: "1" });
    bridges.push(tight);
    const clients = [await commander(0), await commander(1), await commander(3)];
    for (const [index, client] of clients.slice(0, 2).entries()) {
      client.send({ ...command, id: index });
      await queued(index + 1);
    }
    clients[2]?.send({ ...command, id: 2 });
    const refused = await clients[2]?.next("command_result", ({ status }) => status === "failed");
    expect(refused).toMatchObject({ id: 2, code: 106, error: expect.stringContaining("too many commands wait") });
    await queued(2);
  });

  it("of a dead node are sent again by another node, before the commands that were issued later", async () => {
    const clients = [await commander(0), await commander(1)];
    node(2).link.connections.add("device:north");
    for (const [index, client] of clients.entries()) {
      client.send({ ...command, id: index });
      await queued(index + 1);
    }
    const sentBy = (indexes: readonly number[]) =>
      indexes.flatMap((index) => node(index).link.publications.filter(({ topic }) => topic.includes("/commands/")));
    await vi.waitFor(() => expect(sentBy([0])).toHaveLength(1));
    await accesses[0]?.close();
    await vi.waitFor(() => expect(sentBy([1, 2])).toEqual(sentBy([0])));
    const { id } = JSON.parse(String(sentBy([0])[0]?.payload));
    await node(2).say("cameras/north/replies/capture.now", { command_id: id, status: "succeeded" });
    await clients[1]?.next("command_result", ({ status }) => status === "sent");
    await answer(1);
    await clients[1]?.next("command_result", ({ status }) => status === "succeeded");
  });
});

it("the limits of broadcasts, of token requests and of commands in a minute apply to all nodes together", async () => {
  const env = { MAX_BROADCASTS_PER_MINUTE: "3", MAX_COMMANDS_PER_MINUTE: "1", MAX_TOKEN_REQUESTS_PER_MINUTE: "2" };
  const tight = [await startNode(env), await startNode(env)];
  bridges.push(...tight);
  const post = async (path: string, body: unknown) => {
    const answers = [];
    for (const each of [...tight, ...tight])
      answers.push(await each.call(path, { method: "POST", body, token: OPERATOR_KEY }));
    return answers;
  };
  const statusesOf = (answers: readonly Answer[]) => answers.map(({ status }) => status);
  expect(statusesOf(await post("/broadcast", { event: "a.b" }))).toEqual([200, 200, 200, 429]);
  const minted = await post("/auth/token", { user_id: "bob", permissions: ["dashboard:read"] });
  expect(statusesOf(minted)).toEqual([200, 200, 429, 429]);
  expect(Number(minted[2]?.headers["retry-after"])).toBeGreaterThan(30);
  // The camera is not connected.
  const capture = { name: "capture.now", args: {} };
  expect(statusesOf(await post("/cameras/south/commands", capture))).toEqual([409, 429, 429, 429]);
  const results = [];
  for (const each of tight) {
    each.link.connections.add("device:north");
    const client = await connect(urlOf(each), each.mint("camera:control"));
    client.send({ type: "command", id: 1, camera: "north", name: "capture.now", args: {} });
    results.push(await client.next("command_result", ({ status }) => status === "sent" || status === "failed"));
  }
  expect(results).toMatchObject([{ status: "sent" }, { status: "failed", code: ReplyCode.rateLimited }]);
});

describe("POST /broadcast", () => {
  it("returns the number of subscribers at all nodes", async () => {
    for (const index of [0, 1, 1, 2]) {
      const client = await connect(urlOf(node(index)), node(index).mint("dashboard:read"));
      await client.subscribe("dashboard");
    }
    const { body } = await node(2).call("/broadcast", { method: "POST", body: { event: "a.b" } });
    expect(body).toEqual({ sent_to: 4, channel: "dashboard" });
  });
});

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { connect, type MqttClient } from "mqtt";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, onTestFinished } from "vitest";
import { openRedisCluster } from "../../../bridge/cluster/redis/redis.ts";
import { type Backend, startBackend } from "../../../deploy/backend.ts";
import { readBackendConfig } from "../../../deploy/config/backend-config.ts";
import { openRedis } from "../../../platform/redis/connections.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";

const CAPTURED = "skylapse/v1/cameras/north/events/capture.completed";
const OPERATOR_KEY = "operator-key-of-the-tests";
const logger = pino({ level: process.env.TEST_LOG_LEVEL ?? "silent" });

let server: RedisServer;
let admin: Redis;
let dataPath: string;
let nodes: Backend[] = [];

beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.remove());
beforeEach(async () => {
  dataPath = await mkdtemp(join(tmpdir(), "redis-emptied-"));
  admin = new Redis(server.url);
});
afterEach(async () => {
  await Promise.all(nodes.map((node) => node.stop()));
  nodes = [];
  admin.disconnect();
  await rm(dataPath, { recursive: true });
});

async function startNode(name: string): Promise<Backend> {
  const config = readBackendConfig({
    ...{ DATA_PATH: join(dataPath, name), WS_PORT: "0", MQTT_PORT: "0", MQTT_WS_PORT: "0", SIMULATOR: "0" },
    ...{ REDIS_URL: server.url, REDIS_PREFIX: "emptied", SHUTDOWN_SPREAD_MS: "0" },
    ...{ JWT_SECRET: "s".repeat(32), OPERATOR_KEY },
  });
  const node = await startBackend({ config, version: "1.2.3", pagePath: "", logger });
  nodes.push(node);
  return node;
}

async function storedIn({ prefix }: { prefix: string }, note: string): Promise<string | null> {
  const [hash = ""] = (await admin.keys("*documents:notes")).filter((key) => key.startsWith(prefix));
  return await admin.hget(hash, note);
}

async function call(node: Backend, path: string, body?: object) {
  const answer = await fetch(`${node.http}${path}`, {
    method: body === undefined ? "GET" : "POST",
    headers: { authorization: `Bearer ${OPERATOR_KEY}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: JSON.parse(await answer.text()) };
}

/** Connects a camera, which reconnects by itself, also after a refusal. */
async function connectCamera(node: Backend, secret: string): Promise<MqttClient> {
  const [, url = ""] = node.addresses.find(([label]) => label === "MQTT") ?? [];
  const client = connect(url, {
    clientId: "camera-north",
    username: "north",
    password: secret,
    ...{ reconnectPeriod: 50, reconnectOnConnackError: true },
  });
  // While the node notices the loss, it may refuse a connection.
  client.on("error", () => undefined);
  onTestFinished(() => {
    client.end(true);
  });
  await new Promise((resolve) => client.once("connect", resolve));
  return client;
}

it("the cluster admits cameras and users after Redis was emptied while nodes run, and reports what was lost", async () => {
  const [here, there] = [await startNode("here"), await startNode("there")];
  const { body } = await call(here, "/devices", { id: "north", kind: "camera" });
  await call(here, "/users", { user_id: "alice", password: "a mountain at dawn", role: "viewer" });
  const camera = await connectCamera(there, body.secret);
  await admin.flushall();
  const notices = async (node: Backend) => (await call(node, "/readyz")).body.notices ?? [];
  for (const node of nodes)
    await expect.poll(() => notices(node)).toContainEqual(expect.stringMatching(/^redis: data was damaged or lost/));
  // Within a second, the node disconnects its clients, because their sessions are lost. The camera reconnects.
  await camera.publishAsync(CAPTURED, "{}", { qos: 1 });
  await camera.endAsync();
  for (const node of nodes) {
    const again = await connectCamera(node, body.secret);
    await again.endAsync();
    expect((await call(node, "/auth/login", { user_id: "alice", password: "a mountain at dawn" })).status).toBe(200);
  }
  // The device is in Redis again, not only in the memory of the nodes.
  const late = await startNode("late");
  await connectCamera(late, body.secret);
  const noted = JSON.parse(await readFile(join(dataPath, "here", "damage.json"), "utf8"));
  expect(noted[0]).toMatchObject({ store: "redis", found: "Redis was emptied or replaced" });
  expect(noted[0].missing).toMatch(/MQTT sessions, retained messages, events and pictures/);
});

it("the cluster reports at the start that Redis was emptied while no node ran", async () => {
  const first = await startNode("alone");
  await first.stop();
  const same = await startNode("alone");
  expect((await call(same, "/readyz")).body).toEqual({ status: "ready" });
  await same.stop();
  await admin.flushall();
  const again = await startNode("alone");
  expect((await call(again, "/readyz")).body.notices).toEqual([
    expect.stringMatching(/^redis: data was damaged or lost/),
  ]);
});

it("the cluster writes back the newest version that several nodes have cached, and never overwrites a newer version", async () => {
  const access = openRedis({ url: server.url, prefix: "newest", logger });
  const open = () => openRedisCluster({ redis: access, logger, heartbeatMs: 600_000 });
  const [one, other] = [await open(), await open()];
  onTestFinished(async () => {
    await Promise.all([one.stop(), other.stop()]);
    await access.close();
  });
  for (const { documents } of [one, other]) documents.watch("notes", () => {});
  const { documents } = one;
  await documents.put("notes", "both", "old");
  for (const cluster of [one, other]) await cluster.documents.list("notes");
  await documents.put("notes", "both", "new");
  await admin.flushall();
  // The node with the older version writes first.
  await other.documents.list("notes");
  expect(await storedIn(access, "both")).toMatch(/"old"$/);
  expect(await documents.get("notes", "both")).toMatchObject({ value: "new" });
  expect(await other.documents.get("notes", "both")).toMatchObject({ value: "new" });
});

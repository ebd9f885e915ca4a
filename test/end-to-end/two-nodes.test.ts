import { Redis } from "ioredis";
import { connect, connectAsync, type MqttClient } from "mqtt";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { FINAL_COMMAND_STATUSES } from "../../contract/commands.ts";
import { JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { makeDataPath, removeDataPath, runToEnd, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
const ROOT = "skylapse/v1";
const EVERYTHING = ["dashboard:read", "camera:read", "camera:control", "jobs:read", "alerts:read"];

let redis: RedisServer;
let first: Skylapse;
let second: Skylapse;
const dataPaths: string[] = [];

beforeAll(async () => {
  redis = await startRedis();
  // The first node simulates a camera and a processing service, which connect to that node only.
  [first, second] = await Promise.all([startNode({ SIMULATOR: "1", CAPTURE_INTERVAL_S: "1" }), startNode({})]);
});
afterAll(async () => {
  await Promise.all([first?.end(), second?.end()]);
  for (const path of dataPaths) removeDataPath(path);
  await redis?.remove();
});

async function startNode(env: Record<string, string>): Promise<Skylapse> {
  const dataPath = makeDataPath();
  dataPaths.push(dataPath);
  const { SIMULATOR, ...rest } = env;
  return await startSkylapse({
    dataPath,
    env: { JWT_SECRET, OPERATOR_KEY, REDIS_URL: redis.url, SIMULATOR: SIMULATOR ?? "", ...rest },
  });
}

async function call(node: Skylapse, path: string, method = "GET", body?: unknown): Promise<Response> {
  return await fetch(`${node.http}${path}`, {
    method,
    headers: { authorization: `Bearer ${OPERATOR_KEY}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

const stats = async (node: Skylapse) => await (await call(node, "/stats")).json();

async function mqttClient(node: Skylapse, options: { clientId: string; clean?: boolean }): Promise<MqttClient> {
  const password = signToken(options.clientId, ["admin"]);
  return await connectAsync(node.mqtt, { username: options.clientId, password, reconnectPeriod: 0, ...options });
}

describe("two nodes with one Redis", () => {
  it("log where their data is, and simulate cameras only if SIMULATOR is set", () => {
    const port = String(redis.port);
    expect(second.output()).toContain(`"data":"redis://127.0.0.1:${port} (Redis, prefix skylapse)"`);
    expect(second.output()).toContain('"cameras":"none simulated"');
  });

  it("show a camera of one node on dashboards of the other node", async () => {
    const here = await openDashboard(second.socket, signToken("alice", EVERYTHING), "camera:north");
    const there = await openDashboard(first.socket, signToken("alice", EVERYTHING), "camera:north");
    const captured = await here.next(
      "dashboard_event",
      ({ event, snapshot }) => event === "capture.completed" && !snapshot,
    );
    const same = await there.next("dashboard_event", ({ position }) => position >= captured.position);
    expect(captured.camera).toBe("north");
    expect(same.position).toBeGreaterThanOrEqual(captured.position);
    await Promise.all([here.close(), there.close()]);
  });

  it("serve the camera's newest picture on both nodes", async () => {
    await vi.waitFor(async () => expect((await call(first, "/cameras/north/latest.jpg")).status).toBe(200));
    const picture = await call(second, "/cameras/north/latest.jpg");
    expect([picture.status, picture.headers.get("content-type")]).toEqual([200, "image/jpeg"]);
  });

  it("know on both nodes who acknowledged an alert, until the alert is cleared", async () => {
    const topic = `${ROOT}/cameras/north/alerts/heater`;
    const client = await mqttClient(first, { clientId: "heater" });
    await client.publishAsync(topic, '{"alert":"heater","severity":"info","message":"cold"}', { qos: 1, retain: true });
    const path = "/cameras/north/alerts/heater/acknowledge";
    await vi.waitFor(async () => expect((await call(second, path, "POST")).status).toBe(200));
    const noted = async (node: Skylapse) => (await (await call(node, "/cameras/north")).json()).alert_notes;
    const acknowledged = { heater: { acknowledgement: expect.objectContaining({ by: "operator" }) } };
    for (const node of [first, second]) await vi.waitFor(async () => expect(await noted(node)).toEqual(acknowledged));
    await client.publishAsync(topic, "", { qos: 1, retain: true });
    for (const node of [first, second]) await vi.waitFor(async () => expect(await noted(node)).toEqual({}));
    await client.endAsync();
  });

  it("relay a command from one node to a camera on the other node, and relay the result back", async () => {
    const dashboard = await openDashboard(second.socket, signToken("alice", EVERYTHING));
    dashboard.send({ type: "command", id: 1, camera: "north", name: "capture.now", args: {}, expires_in: 20 });
    const result = await dashboard.next("command_result", ({ status }) => FINAL_COMMAND_STATUSES.has(status));
    expect(result).toMatchObject({ id: 1, camera: "north", status: "succeeded" });
    await dashboard.close();
  });

  it("broadcast from one node to the dashboards of both nodes", async () => {
    const dashboards = await Promise.all(
      [first, second].map((node) => openDashboard(node.socket, signToken("bob", EVERYTHING))),
    );
    const answer = await call(first, "/broadcast", "POST", {
      channel: "dashboard",
      message: { event: "weather.warning", data: { wind: 90 } },
    });
    expect(answer.status).toBe(200);
    const events = await Promise.all(
      dashboards.map((dashboard) => dashboard.next("dashboard_event", ({ event }) => event === "weather.warning")),
    );
    expect(new Set(events.map(({ position }) => position)).size).toBe(1);
    await Promise.all(dashboards.map((dashboard) => dashboard.close()));
  });

  it("forward publications, including retained messages, from one node to MQTT subscribers of the other node", async () => {
    const [publisher, subscriber] = [
      await mqttClient(first, { clientId: "publisher" }),
      await mqttClient(second, { clientId: "subscriber" }),
    ];
    const heard: string[] = [];
    subscriber.on("message", (topic, payload) => heard.push(`${topic.slice(ROOT.length)} ${payload}`));
    // Does not subscribe to the presence state, because the backend publishes it.
    await subscriber.subscribeAsync([`${ROOT}/cameras/south/events/#`, `${ROOT}/cameras/south/state/power`], {
      qos: 1,
    });
    await publisher.publishAsync(`${ROOT}/cameras/south/events/a.b`, "one", { qos: 1 });
    await publisher.publishAsync(`${ROOT}/cameras/south/state/power`, '{"volts":12}', { qos: 1, retain: true });
    await vi.waitFor(() => expect(heard).toHaveLength(2));
    expect(heard).toEqual(["/cameras/south/events/a.b one", '/cameras/south/state/power {"volts":12}']);
    const late = await mqttClient(second, { clientId: "late" });
    const retained = new Promise<string>((resolve) => late.once("message", (topic) => resolve(topic)));
    await late.subscribeAsync(`${ROOT}/cameras/south/state/power`, { qos: 1 });
    expect(await retained).toBe(`${ROOT}/cameras/south/state/power`);
    await Promise.all([publisher, subscriber, late].map((client) => client.endAsync()));
  });

  it("deliver an MQTT session's queue on any node to which its client reconnects", async () => {
    const before = await mqttClient(first, { clientId: "roaming", clean: false });
    await before.subscribeAsync(`${ROOT}/cameras/east/events/#`, { qos: 1 });
    await before.endAsync();
    const publisher = await mqttClient(second, { clientId: "east" });
    for (let n = 0; n < 5; n++) await publisher.publishAsync(`${ROOT}/cameras/east/events/a.b`, String(n), { qos: 1 });
    const heard: string[] = [];
    const password = signToken("roaming", ["admin"]);
    // The listener is added before the connection, because queued messages arrive with it.
    const after = connect(second.mqtt, { clientId: "roaming", clean: false, username: "roaming", password });
    after.on("message", (_topic, payload) => heard.push(String(payload)));
    await vi.waitFor(() => expect(heard).toEqual(["0", "1", "2", "3", "4"]));
    await Promise.all([after.endAsync(), publisher.endAsync()]);
  });

  it("count the connections of both nodes for MAX_CONNECTIONS_PER_USER, /stats and /connections", async () => {
    const token = signToken("carol", EVERYTHING);
    const dashboards = [];
    for (const node of [first, second, first, second, first]) dashboards.push(await openDashboard(node.socket, token));
    await expect(openDashboard(second.socket, token)).rejects.toThrow("closed with 4004");
    await vi.waitFor(async () => {
      const { cluster, totals } = await stats(second);
      expect(cluster).toMatchObject({ total_connections: 5 });
      expect(cluster.nodes).toHaveLength(2);
      expect(totals).toMatchObject({ starts: 2, counts: { broadcasts: 1, commands: 1 } });
    });
    const { connections } = await (await call(first, "/connections")).json();
    expect(connections).toHaveLength(5);
    expect(new Set(connections.map(({ node }: { node: string }) => node)).size).toBe(2);
    await Promise.all(dashboards.map((dashboard) => dashboard.close()));
  });
});

describe("REDIS_URL", () => {
  it("is named without its password when it is malformed", async () => {
    const dataPath = makeDataPath();
    dataPaths.push(dataPath);
    const { code, errors } = await runToEnd({ dataPath, env: { REDIS_URL: "redis//:hunter2@nowhere" } });
    expect(code).toBe(1);
    expect(errors).toContain("REDIS_URL: ");
    expect(errors).not.toContain("hunter2");
  });

  it("with a wrong password ends the start with one line that names the problem", async () => {
    const locked = await startRedis();
    const operator = new Redis(locked.url);
    await operator.config("SET", "requirepass", "another");
    const dataPath = makeDataPath();
    dataPaths.push(dataPath);
    const env = { REDIS_URL: locked.url.replace("redis://", "redis://:hunter2@"), LOG_LEVEL: "silent" };
    const { code, errors } = await runToEnd({ dataPath, env });
    expect(code).toBe(1);
    expect(errors.trim().split("\n")).toHaveLength(1);
    expect(errors).toContain("Cannot start: REDIS_URL: Redis cannot be used (WRONGPASS");
    expect(errors).not.toContain("hunter2");
    operator.disconnect();
    await locked.remove();
  });
});

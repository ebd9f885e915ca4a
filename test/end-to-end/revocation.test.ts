import { connectAsync, type MqttClient } from "mqtt";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { JWT_SECRET, openDashboard } from "../support/dashboard.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { startRunningClock } from "../support/running-clock.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
/** The limit that docs/access.md promises, milliseconds. Time in which this process did not run does not count. */
const WITHIN_MS = 1_000;
const now = startRunningClock();
const PASSWORD = "correct horse battery";

let redis: RedisServer;
let first: Skylapse;
let second: Skylapse;
const dataPaths: string[] = [];

beforeAll(async () => {
  redis = await startRedis();
  [first, second] = await Promise.all([startNode(), startNode()]);
});
afterAll(async () => {
  await Promise.all([first?.end(), second?.end()]);
  for (const path of dataPaths) removeDataPath(path);
  await redis?.remove();
});

async function startNode(): Promise<Skylapse> {
  const dataPath = makeDataPath();
  dataPaths.push(dataPath);
  return await startSkylapse({ dataPath, env: { JWT_SECRET, OPERATOR_KEY, REDIS_URL: redis.url, SIMULATOR: "" } });
}

async function call(node: Skylapse, path: string, method: string, body: unknown): Promise<Response> {
  return await fetch(`${node.http}${path}`, {
    method,
    headers: { authorization: `Bearer ${OPERATOR_KEY}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

async function logIn(user_id: string): Promise<{ token: string; refresh_token: string }> {
  const added = await call(first, "/users", "POST", { user_id, password: PASSWORD, role: "viewer" });
  expect(added.status).toBe(201);
  // Retries, because the other node learns of the account a moment later.
  return await vi.waitFor(async () => {
    const answer = await call(second, "/auth/login", "POST", { user_id, password: PASSWORD });
    expect(answer.status).toBe(200);
    return await answer.json();
  });
}

async function mqttClient(node: Skylapse, username: string, password: string): Promise<MqttClient> {
  return await connectAsync(node.mqtt, { username, password, reconnectPeriod: 0 });
}

const ended = (client: MqttClient) => new Promise<number>((resolve) => client.once("close", () => resolve(now())));

it("a change of permissions takes effect at once on every node, for WebSockets and MQTT clients", async () => {
  const { token } = await logIn("alice");
  const here = await openDashboard(first.socket, token, "dashboard");
  const there = await openDashboard(second.socket, token, "dashboard");
  const client = await mqttClient(second, "alice", token);
  const end = ended(client);
  const from = now();
  expect((await call(first, "/users/alice", "PUT", { permissions: ["camera:north:read"] })).status).toBe(200);
  for (const dashboard of [here, there])
    expect(await dashboard.next("unsubscription_result")).toMatchObject({ channel: "dashboard", code: 103 });
  expect((await end) - from).toBeLessThan(WITHIN_MS);
  // The client reconnects with the same token and gets fewer permissions.
  const again = await mqttClient(second, "alice", token);
  const [granted] = await again.subscribeAsync(["skylapse/v1/cameras/south/#"], { qos: 1 }).catch(() => [undefined]);
  expect(granted?.qos ?? 128).toBe(128);
  await again.endAsync();
  await Promise.all([here.close(), there.close()]);
});

it("an operator's revocation ends the minted tokens of a user", async () => {
  const answer = await call(first, "/auth/token", "POST", { user_id: "dave", permissions: ["dashboard:read"] });
  const { token } = await answer.json();
  const client = await mqttClient(second, "dave", token);
  const end = ended(client);
  const from = now();
  expect((await call(first, "/auth/revoke", "POST", { user_id: "dave" })).status).toBe(204);
  expect((await end) - from).toBeLessThan(WITHIN_MS);
  await expect(mqttClient(first, "dave", token)).rejects.toThrow();
});

it("a logout at one node ends the login on all nodes, and the token stays refused even while Redis is down", async () => {
  const login = await logIn("bob");
  const dashboard = await openDashboard(first.socket, login.token);
  const client = await mqttClient(first, "bob", login.token);
  const end = ended(client);
  const from = now();
  await call(second, "/auth/logout", "POST", { refresh_token: login.refresh_token });
  await vi.waitFor(() => expect(dashboard.socket.readyState).toBe(3));
  expect((await end) - from).toBeLessThan(WITHIN_MS);
  const carol = await logIn("carol");
  await redis.stop();
  try {
    await expect(openDashboard(first.socket, login.token)).rejects.toThrow();
    const other = await openDashboard(first.socket, carol.token);
    await other.close();
  } finally {
    await redis.start();
  }
});

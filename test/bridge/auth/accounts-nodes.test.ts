import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectAsync, type MqttClient } from "mqtt";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { type Backend, startBackend } from "../../../deploy/backend.ts";
import { readBackendConfig } from "../../../deploy/config/backend-config.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { startRunningClock } from "../../support/running-clock.ts";
import { connect } from "../websocket/client.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
const PASSWORD = "a mountain at dawn";
/**
 * Milliseconds. A revocation must take effect on every node within this time. An idle machine needs a few milliseconds.
 * Without a message from the other node, the connections would stay open for minutes.
 */
const WITHIN_MS = 8_000;
const logger = pino({ level: "silent" });

let redis: RedisServer;
let nodeA: Backend;
let nodeB: Backend;
let dataPath: string;
let deployment = 0;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.remove());
beforeEach(async () => {
  deployment++;
  dataPath = await mkdtemp(join(tmpdir(), "accounts-nodes-"));
  [nodeA, nodeB] = await Promise.all([startNode("a"), startNode("b")]);
  await call(nodeA, "/users", { body: { user_id: "alice", password: PASSWORD, role: "viewer" } });
});
afterEach(async () => {
  await Promise.all([nodeA.stop(), nodeB.stop()]);
  await rm(dataPath, { recursive: true });
});

async function startNode(name: string): Promise<Backend> {
  const config = readBackendConfig({
    ...{ DATA_PATH: join(dataPath, name), WS_PORT: "0", MQTT_PORT: "0", MQTT_WS_PORT: "0", SIMULATOR: "0" },
    ...{ REDIS_URL: redis.url, REDIS_PREFIX: `accounts-${deployment}`, SHUTDOWN_SPREAD_MS: "0" },
    ...{ JWT_SECRET: "s".repeat(32), OPERATOR_KEY, MAX_LOGIN_FAILURES: "4", MAX_TOKEN_REQUESTS_PER_MINUTE: "0" },
  });
  return await startBackend({ config, version: "1.2.3", pagePath: "", logger });
}

async function call(node: Backend, path: string, { body, method = "POST" }: { body?: object; method?: string } = {}) {
  const answer = await fetch(`${node.http}${path}`, {
    method,
    headers: { authorization: `Bearer ${OPERATOR_KEY}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  return { status: answer.status, body: text === "" ? undefined : JSON.parse(text) };
}

const login = (node: Backend, password = PASSWORD, user_id = "alice") =>
  call(node, "/auth/login", { body: { user_id, password } });
const refresh = (node: Backend, refresh_token: string) => call(node, "/auth/refresh", { body: { refresh_token } });
const socket = (node: Backend, token: string) => connect(`${node.http.replace("http", "ws")}/ws`, token);

async function mqttClient(node: Backend, password: string, username = "alice"): Promise<MqttClient> {
  const [, url = ""] = node.addresses.find(([label]) => label === "MQTT") ?? [];
  const client = await connectAsync(url, { username, password, reconnectPeriod: 0 });
  onTestFinished(() => {
    client.end(true);
  });
  return client;
}

function closing(client: MqttClient): Promise<string> {
  return new Promise((resolve) => client.once("close", () => resolve("closed")));
}

/** Opens a socket and an MQTT client with the token at node B. `ended` runs an action and waits until both close. */
async function connections(token: string) {
  const [dashboard, client] = [await socket(nodeB, token), await mqttClient(nodeB, token)];
  const ends = [dashboard.closed.then(({ code }) => code), closing(client)];
  return {
    dashboard,
    client,
    async ended(action: () => Promise<unknown>) {
      const elapsedMs = startRunningClock();
      await action();
      const results = await Promise.all(ends);
      return { results, inTime: elapsedMs() < WITHIN_MS };
    },
  };
}

const ENDED = { results: [4005, "closed"], inTime: true };

describe("two nodes", () => {
  it("share accounts, logins and refresh tokens", async () => {
    const { status, body } = await login(nodeB);
    expect(status).toBe(200);
    const next = await refresh(nodeA, body.refresh_token);
    expect(next.status).toBe(200);
    await connections(next.body.token);
  });

  it("end a session on both nodes as soon as an old refresh token is used again", async () => {
    const first = (await login(nodeA)).body;
    const second = (await refresh(nodeB, first.refresh_token)).body;
    const third = (await refresh(nodeA, second.refresh_token)).body;
    const open = await connections(third.token);
    expect(await open.ended(() => refresh(nodeA, first.refresh_token))).toEqual(ENDED);
    expect((await refresh(nodeB, third.refresh_token)).status).toBe(401);
    await expect(mqttClient(nodeB, third.token)).rejects.toThrow("Bad username or password");
    await expect(socket(nodeB, third.token)).rejects.toThrow("auth_error");
  });

  it.each<[string, (session: { token: string; refresh_token: string }) => Promise<unknown>]>([
    ["logout", ({ refresh_token }) => call(nodeA, "/auth/logout", { body: { refresh_token } })],
    ["revocation of the user", () => call(nodeA, "/auth/revoke", { body: { user_id: "alice" } })],
    ["disabling of the account", () => call(nodeA, "/users/alice", { method: "PUT", body: { enabled: false } })],
    ["removal of the account", () => call(nodeA, "/users/alice", { method: "DELETE" })],
  ])("close sockets and MQTT clients of the other node at once: %s", async (_name, action) => {
    const session = (await login(nodeA)).body;
    const open = await connections(session.token);
    expect(await open.ended(() => action(session))).toEqual(ENDED);
  });

  it("close the connections of a revoked minted token, and keep the connections of the user's other tokens", async () => {
    const mint = async () =>
      (await call(nodeA, "/auth/token", { body: { user_id: "bob", permissions: ["admin"] } })).body.token;
    const [revoked, kept] = [await mint(), await mint()];
    const [open, other] = [await connections(revoked), await connections(kept)];
    const { jti } = JSON.parse(Buffer.from(revoked.split(".")[1] ?? "", "base64url").toString());
    expect(await open.ended(() => call(nodeA, "/auth/revoke", { body: { token_id: jti } }))).toEqual(ENDED);
    expect([other.dashboard.ws.readyState, other.client.connected]).toEqual([1, true]);
  });

  it("apply new permissions at once to sockets of the other node, and to MQTT clients when they reconnect", async () => {
    const { token } = (await login(nodeA)).body;
    const { dashboard, client } = await connections(token);
    await dashboard.subscribe("alerts");
    const closed = closing(client);
    const elapsedMs = startRunningClock();
    await call(nodeA, "/users/alice", { method: "PUT", body: { permissions: ["jobs:read"] } });
    expect(await dashboard.next("auth_success")).toMatchObject({ permissions: ["jobs:read"] });
    expect(await dashboard.next("unsubscription_result")).toMatchObject({ channel: "alerts", code: 103 });
    await closed;
    expect(elapsedMs()).toBeLessThan(WITHIN_MS);
    const reconnected = await mqttClient(nodeB, token);
    await reconnected.subscribeAsync("skylapse/v1/processing/#");
    await expect(reconnected.subscribeAsync("skylapse/v1/cameras/+/alerts/#")).rejects.toThrow();
  });

  it("share records and groups of cameras, and limit a user at once at the other node", async () => {
    await call(nodeA, "/devices", { body: { id: "north" } });
    await call(nodeA, "/camera-groups", { body: { id: "alps", name: "Alps", cameras: ["north"] } });
    await call(nodeA, "/cameras/north", { method: "PUT", body: { name: "North face" } });
    const shown = async () => (await call(nodeB, "/cameras/north", { method: "GET" })).body.record;
    await expect.poll(shown).toEqual({ name: "North face", tags: [], groups: [{ id: "alps", name: "Alps" }] });

    const dashboard = await socket(nodeB, (await login(nodeA)).body.token);
    await dashboard.subscribe("dashboard");
    const named = ({ event, data }: { event: string; data: unknown }) =>
      event === "camera.record" && JSON.stringify(data).includes("North face");
    await dashboard.next("dashboard_event", named);
    await call(nodeA, "/users/alice", { method: "PUT", body: { camera_groups: ["alps"] } });
    const { permissions } = await dashboard.next("auth_success");
    expect(permissions.filter((held) => held.startsWith("camera:"))).toEqual(["camera:north:read"]);
    await call(nodeA, "/camera-groups/alps", { method: "PUT", body: { cameras: [] } });
    expect((await dashboard.next("auth_success")).permissions).not.toContain("camera:north:read");
  });

  it("admit a device that was added at the other node, and disconnect the device as soon as it is removed there", async () => {
    const { secret } = (await call(nodeA, "/devices", { body: { id: "north" } })).body;
    let camera: MqttClient | undefined;
    await expect
      .poll(async () => {
        camera = await mqttClient(nodeB, secret, "north").catch(() => undefined);
        return camera?.connected;
      })
      .toBe(true);
    if (camera === undefined) throw new Error("the camera did not connect");
    const closed = closing(camera);
    const elapsedMs = startRunningClock();
    expect((await call(nodeA, "/devices/north", { method: "DELETE" })).status).toBe(204);
    await closed;
    expect(elapsedMs()).toBeLessThan(WITHIN_MS);
    await expect(mqttClient(nodeB, secret, "north")).rejects.toThrow();
  });

  it("count failed logins together, also simultaneous ones, and forget them after a login at any node", async () => {
    const guess = (node: Backend) => login(node, "not the password");
    const statusesOf = async (attempts: readonly ReturnType<typeof login>[]) =>
      (await Promise.all(attempts)).map(({ status }) => status).sort();
    for (const node of [nodeA, nodeB, nodeA]) await guess(node);
    expect((await login(nodeB)).status).toBe(200);
    // Nobody has logged in as bob: only the failures of all nodes together end the guesses.
    await call(nodeA, "/users", { body: { user_id: "bob", password: PASSWORD, role: "viewer" } });
    const asBob = (node: Backend, password: string) => login(node, password, "bob");
    const guesses = [nodeA, nodeB, nodeA, nodeB, nodeA, nodeB, nodeA, nodeB].map((node) => asBob(node, "a guess"));
    expect(await statusesOf(guesses)).toEqual([401, 401, 401, 401, 429, 429, 429, 429]);
    expect(await statusesOf([asBob(nodeA, PASSWORD), asBob(nodeB, PASSWORD)])).toEqual([429, 429]);
    for (const node of [nodeA, nodeB, nodeA]) await guess(node);
    expect((await login(nodeB)).status).toBe(200);
  });
});

describe("nodes without Redis", () => {
  it("admit devices, and reject changes of devices", async () => {
    const { secret } = (await call(nodeA, "/devices", { body: { id: "north" } })).body;
    await redis.stop("SIGKILL");
    try {
      await expect(mqttClient(nodeA, "x".repeat(43), "north")).rejects.toMatchObject({ code: 4 });
      const answers = [
        await call(nodeA, "/devices/north", { method: "DELETE" }),
        await call(nodeA, "/devices", { body: { id: "west" } }),
        await call(nodeA, "/devices/north/rotate"),
      ];
      expect(answers.map(({ status }) => status)).toEqual([503, 503, 503]);
      expect((await call(nodeA, "/devices", { method: "GET" })).body.devices).toHaveLength(1);
    } finally {
      await redis.start();
    }
    await expect.poll(() => mqttClient(nodeB, secret, "north").then(({ connected }) => connected)).toBe(true);
  });

  it("verify tokens, reject revoked tokens, and tell clients to retry their login", async () => {
    const [valid, ended] = [(await login(nodeA)).body, (await login(nodeA)).body];
    const open = await connections(ended.token);
    await open.ended(() => call(nodeA, "/auth/logout", { body: { refresh_token: ended.refresh_token } }));
    await redis.stop("SIGKILL");
    try {
      expect((await socket(nodeB, valid.token)).ws.readyState).toBe(1);
      await expect(socket(nodeB, ended.token)).rejects.toThrow("auth_error");
      for (const answer of [await login(nodeB), await refresh(nodeA, valid.refresh_token)])
        expect([answer.status, answer.body.error.code]).toEqual([503, "store_unavailable"]);
    } finally {
      await redis.start();
    }
    await expect.poll(async () => (await login(nodeB)).status).toBe(200);
  });
});

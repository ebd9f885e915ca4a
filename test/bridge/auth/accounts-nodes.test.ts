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
 * What a revocation may take to act on every node, milliseconds: it takes a few where a machine has time, and without
 * a word of the other node these connections would live for minutes.
 */
const WITHIN_MS = 8_000;
const logger = pino({ level: "silent" });

let redis: RedisServer;
let here: Backend;
let there: Backend;
let dataPath: string;
let deployment = 0;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.remove());
beforeEach(async () => {
  deployment++;
  dataPath = await mkdtemp(join(tmpdir(), "accounts-nodes-"));
  [here, there] = await Promise.all([startNode("here"), startNode("there")]);
  await call(here, "/users", { body: { user_id: "alice", password: PASSWORD, role: "viewer" } });
});
afterEach(async () => {
  await Promise.all([here.stop(), there.stop()]);
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

const login = (node: Backend, password = PASSWORD) =>
  call(node, "/auth/login", { body: { user_id: "alice", password } });
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

/** Both kinds of connection with the token at the other node; resolves to how they end, and how long that took. */
async function connections(token: string) {
  const [dashboard, client] = [await socket(there, token), await mqttClient(there, token)];
  const ends = [dashboard.closed.then(({ code }) => code), closing(client)];
  return {
    dashboard,
    client,
    async ended(act: () => Promise<unknown>) {
      const elapsedMs = startRunningClock();
      await act();
      const how = await Promise.all(ends);
      return { how, inTime: elapsedMs() < WITHIN_MS };
    },
  };
}

const ENDED = { how: [4005, "closed"], inTime: true };

describe("over two nodes", () => {
  it("an account, a login and a refresh of the one are good at the other", async () => {
    const { status, body } = await login(there);
    expect(status).toBe(200);
    const next = await refresh(here, body.refresh_token);
    expect(next.status).toBe(200);
    await connections(next.body.token);
  });

  it("an older refresh token that comes again ends the session everywhere at once", async () => {
    const first = (await login(here)).body;
    const second = (await refresh(there, first.refresh_token)).body;
    const third = (await refresh(here, second.refresh_token)).body;
    const open = await connections(third.token);
    expect(await open.ended(() => refresh(here, first.refresh_token))).toEqual(ENDED);
    expect((await refresh(there, third.refresh_token)).status).toBe(401);
    await expect(mqttClient(there, third.token)).rejects.toThrow("Bad username or password");
    await expect(socket(there, third.token)).rejects.toThrow("auth_error");
  });

  it.each<[string, (session: { token: string; refresh_token: string }) => Promise<unknown>]>([
    ["a logout", ({ refresh_token }) => call(here, "/auth/logout", { body: { refresh_token } })],
    ["a revocation of the user", () => call(here, "/auth/revoke", { body: { user_id: "alice" } })],
    ["being disabled", () => call(here, "/users/alice", { method: "PUT", body: { enabled: false } })],
    ["being removed", () => call(here, "/users/alice", { method: "DELETE" })],
  ])("%s ends sockets and MQTT clients of the other at once", async (_name, act) => {
    const session = (await login(here)).body;
    const open = await connections(session.token);
    expect(await open.ended(() => act(session))).toEqual(ENDED);
  });

  it("a minted token that is revoked ends there, and its user's others do not", async () => {
    const mint = async () =>
      (await call(here, "/auth/token", { body: { user_id: "bob", permissions: ["admin"] } })).body.token;
    const [revoked, kept] = [await mint(), await mint()];
    const [open, other] = [await connections(revoked), await connections(kept)];
    const { jti } = JSON.parse(Buffer.from(revoked.split(".")[1] ?? "", "base64url").toString());
    expect(await open.ended(() => call(here, "/auth/revoke", { body: { token_id: jti } }))).toEqual(ENDED);
    expect([other.dashboard.ws.readyState, other.client.connected]).toEqual([1, true]);
  });

  it("other permissions reach sockets of the other at once, and its MQTT clients come back with them", async () => {
    const { token } = (await login(here)).body;
    const { dashboard, client } = await connections(token);
    await dashboard.subscribe("alerts");
    const closed = closing(client);
    const elapsedMs = startRunningClock();
    await call(here, "/users/alice", { method: "PUT", body: { permissions: ["jobs:read"] } });
    expect(await dashboard.next("auth_success")).toMatchObject({ permissions: ["jobs:read"] });
    expect(await dashboard.next("unsubscription_result")).toMatchObject({ channel: "alerts", code: 103 });
    await closed;
    expect(elapsedMs()).toBeLessThan(WITHIN_MS);
    const again = await mqttClient(there, token);
    await again.subscribeAsync("skylapse/v1/processing/#");
    await expect(again.subscribeAsync("skylapse/v1/cameras/+/alerts/#")).rejects.toThrow();
  });

  it("a device that is let in at one comes in at the other, and is out as soon as it is removed", async () => {
    const { secret } = (await call(here, "/devices", { body: { id: "north" } })).body;
    let camera: MqttClient | undefined;
    await expect
      .poll(async () => {
        camera = await mqttClient(there, secret, "north").catch(() => undefined);
        return camera?.connected;
      })
      .toBe(true);
    if (camera === undefined) throw new Error("there is no camera");
    const closed = closing(camera);
    const elapsedMs = startRunningClock();
    expect((await call(here, "/devices/north", { method: "DELETE" })).status).toBe(204);
    await closed;
    expect(elapsedMs()).toBeLessThan(WITHIN_MS);
    await expect(mqttClient(there, secret, "north")).rejects.toThrow();
  });

  it("failed logins are counted together", async () => {
    for (const node of [here, there, here, there]) expect((await login(node, "not the password")).status).toBe(401);
    // Each node hears of the other's failures in its own time.
    for (const node of [here, there]) await expect.poll(async () => (await login(node)).status).toBe(429);
  });
});

describe("while Redis is away", () => {
  it("devices come in as before, and none can be changed", async () => {
    const { secret } = (await call(here, "/devices", { body: { id: "north" } })).body;
    await redis.stop("SIGKILL");
    try {
      await expect(mqttClient(here, "x".repeat(43), "north")).rejects.toMatchObject({ code: 4 });
      const answers = [
        await call(here, "/devices/north", { method: "DELETE" }),
        await call(here, "/devices", { body: { id: "west" } }),
        await call(here, "/devices/north/rotate"),
      ];
      expect(answers.map(({ status }) => status)).toEqual([503, 503, 503]);
      expect((await call(here, "/devices", { method: "GET" })).body.devices).toHaveLength(1);
    } finally {
      await redis.start();
    }
    await expect.poll(() => mqttClient(there, secret, "north").then(({ connected }) => connected)).toBe(true);
  });

  it("tokens are verified and refused as before; who logs in is told to come back", async () => {
    const [good, ended] = [(await login(here)).body, (await login(here)).body];
    const open = await connections(ended.token);
    await open.ended(() => call(here, "/auth/logout", { body: { refresh_token: ended.refresh_token } }));
    await redis.stop("SIGKILL");
    try {
      expect((await socket(there, good.token)).ws.readyState).toBe(1);
      await expect(socket(there, ended.token)).rejects.toThrow("auth_error");
      for (const answer of [await login(there), await refresh(here, good.refresh_token)])
        expect([answer.status, answer.body.error.code]).toEqual([503, "store_unavailable"]);
    } finally {
      await redis.start();
    }
    await expect.poll(async () => (await login(there)).status).toBe(200);
  });
});

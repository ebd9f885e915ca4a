import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import mqtt from "mqtt";
import sharp from "sharp";
import { expect, it, onTestFinished } from "vitest";
import { connectDashboard } from "../../support/dashboard.ts";
import { generatedSecrets, type InProcessServer, startInProcessServer } from "../../support/in-process-server.ts";
import { startRedis } from "../../support/redis.ts";
import { makeDataPath, removeDataPath, startSkylapse } from "../../support/skylapse.ts";
import { runCommand } from "../../support/skylapse-command.ts";

type Server = Pick<InProcessServer, "http" | "socket" | "mqtt">;

const run = promisify(execFile);
const ROOT = "skylapse/v1";
const PASSWORD = "correct horse battery";
const ACCESS = { JWT_SECRET: "j".repeat(32), OPERATOR_KEY: "o".repeat(32) };

function newDataPath(): string {
  const dataPath = makeDataPath();
  onTestFinished(() => removeDataPath(dataPath));
  return dataPath;
}

/** Starts the program, because the archive runs compiled code in a thread. */
async function startWithArchive(dataPath: string) {
  const server = await startSkylapse({ dataPath, env: { ARCHIVE: "on" } });
  onTestFinished(async () => {
    await server.end("SIGKILL");
  });
  return server;
}

async function startWithRedis(url: string) {
  const server = await startInProcessServer(newDataPath(), { REDIS_URL: url, ...ACCESS });
  onTestFinished(() => server.end());
  return server;
}

async function call({ http }: Server, path: string, token: string, body?: object) {
  const answer = await fetch(`${http}${path}`, {
    method: body === undefined ? "GET" : "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    ...(body && { body: JSON.stringify(body) }),
  });
  return { status: answer.status, bytes: Buffer.from(await answer.arrayBuffer()) };
}

const jsonOf = ({ bytes }: { bytes: Buffer }) => JSON.parse(bytes.toString());

async function connect({ mqtt: url }: Server, clientId: string, username: string, password: string) {
  const client = mqtt.connect(url, { clientId, username, password, clean: clientId !== "archive", reconnectPeriod: 0 });
  onTestFinished(() => {
    client.end(true);
  });
  const queued: string[] = [];
  client.on("message", (_, payload) => queued.push(payload.toString()));
  const { sessionPresent } = await new Promise<mqtt.IConnackPacket>((resolve, reject) => {
    client.once("connect", resolve);
    client.once("error", reject);
  });
  return { client, queued, sessionPresent };
}

/** Writes one item of each kind that a node stores. */
async function fill(server: Server, key: string) {
  await call(server, "/users", key, { user_id: "alice", password: PASSWORD, role: "viewer" });
  const { secret } = jsonOf(await call(server, "/devices", key, { id: "west", kind: "camera" }));
  const login = jsonOf(await call(server, "/auth/login", "", { user_id: "alice", password: PASSWORD }));
  const asked = { user_id: "archive", permissions: ["dashboard:read"] };
  const { token } = jsonOf(await call(server, "/auth/token", key, asked));

  const session = await connect(server, "archive", "archive", token);
  await session.client.subscribeAsync(`${ROOT}/cameras/west/events/#`, { qos: 1 });
  await session.client.endAsync();
  const { client } = await connect(server, "west", "west", secret);
  await client.publishAsync(`${ROOT}/cameras/west/events/weather.changed`, '{"wind":24}', { qos: 1 });
  const grey = { create: { width: 64, height: 48, channels: 3, background: "grey" } } as const;
  const picture = await sharp(grey).jpeg().toBuffer();
  const capture = "01m8kwz7tkmzdme4h0hk70nb3z";
  await client.publishAsync(`${ROOT}/cameras/west/previews/${capture}`, picture, { qos: 1 });
  await expect
    .poll(async () => (await call(server, "/cameras/west/previews", token)).bytes.toString())
    .toContain(capture);
  return { secret, login, token, client, picture, capture };
}

type Filled = Awaited<ReturnType<typeof fill>>;

/** Subscribes to the channel `dashboard` with a position. @returns the answer, and the whole state after it */
async function subscribe(server: Server, token: string, since?: { epoch: string; position: number }) {
  const dashboard = await connectDashboard(server.socket);
  onTestFinished(() => dashboard.close());
  dashboard.send({ type: "auth", token });
  await dashboard.next("auth_success");
  dashboard.send({
    type: "subscribe",
    channel: "dashboard",
    ...(since && { since: { epoch: since.epoch, position: since.position } }),
  });
  const { epoch = "", position = 0, ...answer } = await dashboard.next("subscription_result");
  return { epoch, position, ...answer };
}

async function expectEverything(server: Server, { secret, login, token, picture, capture }: Filled): Promise<void> {
  expect((await call(server, "/auth/login", "", { user_id: "alice", password: PASSWORD })).status).toBe(200);
  expect((await call(server, "/auth/refresh", "", { refresh_token: login.refresh_token })).status).toBe(200);
  const list = jsonOf(await call(server, "/cameras/west/previews", token));
  const url = JSON.stringify(list).match(/"url":"([^"]+)"/)?.[1] ?? "";
  expect(url).toContain(capture);
  expect((await call(server, new URL(url, server.http).pathname, token)).bytes).toEqual(picture);
  await connect(server, "west", "west", secret);
  const session = await connect(server, "archive", "archive", token);
  expect(session.sessionPresent).toBe(true);
  await expect.poll(() => session.queued.join()).toContain('"wind":24');
}

it("restores events, sessions, accounts, logins, devices, pictures, totals and the audit log from a folder", async () => {
  const dataPath = newDataPath();
  const server = await startWithArchive(dataPath);
  const { operatorKey } = generatedSecrets(dataPath);
  const filled = await fill(server, operatorKey);
  const archived = async (from: Server) =>
    (await call(from, "/events?event=weather.changed", filled.token)).bytes.toString();
  await expect.poll(() => archived(server)).toContain('"wind":24');
  const totals = async (from: Server) => jsonOf(await call(from, "/stats", operatorKey)).totals;
  const backup = join(newDataPath(), "backup");
  expect(await runCommand({ DATA_PATH: dataPath }, ["backup", backup])).toMatchObject({ code: 0, errors: "" });
  // After the backup, clients receive an event that the backup does not contain.
  const topic = `${ROOT}/cameras/west/events/weather.changed`;
  await filled.client.publishAsync(topic, '{"wind":25}', { qos: 1 });
  const newest = await subscribe(server, filled.token);
  const { since } = await totals(server);
  await server.end();

  const place = newDataPath();
  expect(await runCommand({ DATA_PATH: place }, ["restore", backup])).toMatchObject({ code: 0, errors: "" });
  expect((await runCommand({ DATA_PATH: place }, ["verify"])).output).toMatch(/^ok +archive /m);
  // Checked before the start, because a server without an archive would fill a new archive from the journal.
  expect(readFileSync(join(place, "archive.db"), "latin1")).toContain("weather.changed");
  const restored = await startWithArchive(place);
  await expectEverything(restored, filled);
  expect(await subscribe(restored, filled.token, newest)).toMatchObject({ recovered: false, reason: "epoch_changed" });
  await expect.poll(() => archived(restored)).toContain('"wind":24');
  expect(await archived(restored)).not.toContain('"wind":25');
  const audit = readFileSync(join(place, "audit.log"), "utf8");
  expect(audit).toMatch(/"action":"token.mint".*"target":"user:archive/);
  expect(await totals(restored)).toMatchObject({ since, starts: 2 });
});

it("restores a copy of Redis with a new epoch", async () => {
  const redis = await startRedis();
  onTestFinished(() => redis.remove());
  const server = await startWithRedis(redis.url);
  const filled = await fill(server, ACCESS.OPERATOR_KEY);
  const folder = newDataPath();
  await run("redis-cli", ["-u", redis.url, "--rdb", join(folder, "dump.rdb")]);
  const topic = `${ROOT}/cameras/west/events/weather.changed`;
  for (const wind of [25, 26]) await filled.client.publishAsync(topic, `{"wind":${wind}}`, { qos: 1 });
  const newest = await subscribe(server, filled.token);
  await server.end();

  const other = await startRedis({ args: ["--dir", folder, "--dbfilename", "dump.rdb", "--appendonly", "no"] });
  onTestFinished(() => other.remove());
  await run("redis-cli", ["-u", other.url, "config", "set", "appendonly", "yes"]);
  const persistence = async () => (await run("redis-cli", ["-u", other.url, "info", "persistence"])).stdout;
  await expect.poll(persistence).toMatch(/aof_rewrite_in_progress:0[\s\S]*aof_last_bgrewrite_status:ok/);
  expect(await runCommand({ DATA_PATH: newDataPath(), REDIS_URL: other.url }, ["new-epoch"])).toMatchObject({
    code: 0,
    errors: "",
  });
  const restored = await startWithRedis(other.url);
  await expectEverything(restored, filled);
  const { epoch, position } = await subscribe(restored, filled.token);
  expect(epoch).not.toBe(newest.epoch);
  expect(position).toBeGreaterThan(0);
  expect(await subscribe(restored, filled.token, newest)).toMatchObject({ recovered: false, reason: "epoch_changed" });
});

it("begins a new epoch only in a Redis that has a journal", async () => {
  const redis = await startRedis();
  onTestFinished(() => redis.remove());
  const variables = { DATA_PATH: newDataPath(), REDIS_URL: redis.url };
  expect(await runCommand(variables, ["new-epoch"])).toMatchObject({
    code: 1,
    errors: expect.stringContaining("this Redis has no journal with the prefix skylapse"),
  });
  expect((await runCommand({ DATA_PATH: newDataPath() }, ["new-epoch"])).errors).toMatch(/REDIS_URL is not set/);
});

import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import mqtt from "mqtt";
import { expect, it, onTestFinished } from "vitest";
import { version } from "../../../deploy/config/package.ts";
import { checkServer } from "../../../deploy/doctor/server.ts";
import { startInProcessServer } from "../../support/in-process-server.ts";
import { freePort } from "../../support/ports.ts";
import { startRedis } from "../../support/redis.ts";
import { makeDataPath, removeDataPath, startSkylapse } from "../../support/skylapse.ts";
import { NO_SERVER, runCommand } from "../../support/skylapse-command.ts";

type Finding = { verdict: string; subject: string; text: string };

const ROOT = "skylapse/v1/cameras";

function newDataPath(): string {
  const dataPath = makeDataPath();
  onTestFinished(() => removeDataPath(dataPath));
  return dataPath;
}

async function startServer(dataPath: string, env: Record<string, string> = {}) {
  const variables = { ...(await newVariables(dataPath)), ...env };
  const server = await startInProcessServer(dataPath, variables);
  onTestFinished(() => server.end());
  return { ...server, variables };
}

/** Starts a server in a process of its own. */
async function startProgram(dataPath: string) {
  const variables = await newVariables(dataPath);
  const server = await startSkylapse({ dataPath, env: variables });
  onTestFinished(async () => {
    await server.end();
  });
  return { ...server, variables };
}

async function newVariables(dataPath: string) {
  const ports = { WS_PORT: String(await freePort()), MQTT_PORT: String(await freePort()) };
  return { DATA_PATH: dataPath, MQTT_WS_PORT: "0", SIMULATOR: "0", LOG_LEVEL: "silent", ...ports };
}

async function doctor(env: Record<string, string>, ...args: string[]) {
  const { code, output, errors } = await runCommand(env, ["doctor", "--json", ...args]);
  expect(errors).toBe("");
  const { verdict, findings }: { verdict: string; findings: Finding[] } = JSON.parse(output);
  const of = (subject: string) =>
    findings.filter((finding) => finding.subject === subject).map(({ verdict, text }) => `${verdict} ${text}`);
  return { code, verdict, output, of, wrong: findings.filter((finding) => finding.verdict === "wrong") };
}

it("finds no problem before the first start, prints readable lines, and writes nothing", async () => {
  const dataPath = newDataPath();
  const { code, output } = await runCommand({ DATA_PATH: dataPath, ...NO_SERVER, MQTT_PORT: "0", MQTT_WS_PORT: "0" }, [
    "doctor",
  ]);
  expect(code).toBe(0);
  // This test also runs under Node.js 20, which gets no more security updates.
  expect(output).toMatch(/^(?:ok {5}|warn {3})Node\.js +\d+/m);
  expect(output).toMatch(/^warn {3}settings +until the first account or camera is added, /m);
  expect(output).toMatch(/^warn {3}server +no server answers at http:\/\/127\.0\.0\.1:9 .*: start it/m);
  expect(output).toMatch(/\n\n0 wrong, \d+ warnings?$/);
  expect(readdirSync(dataPath)).toEqual([]);
});

it("names wrong settings, and runs the checks that are independent of the settings", async () => {
  const env = {
    ...NO_SERVER,
    MQTT_PORT: "many",
    ALLOWED_ORIGINS: "https://sky.example.org/page",
    JWKS_URL: "http://id",
  };
  const { code, verdict, of } = await doctor({ DATA_PATH: newDataPath(), ...env });
  expect([code, verdict]).toEqual([1, "wrong"]);
  expect(of("MQTT_PORT")).toEqual(['wrong must be a port, not "many"']);
  expect(of("ALLOWED_ORIGINS")).toEqual([expect.stringContaining("is no origin, such as")]);
  expect(of("JWKS_URL")).toEqual([expect.stringContaining("must be an https: URL")]);
  expect(of("Node.js").length).toBe(1);
});

it("recognises a running server by its ports, data and key, and prints no secret", async () => {
  const server = await startProgram(newDataPath());
  const { code, of, wrong, output } = await doctor(server.variables);
  expect([code, wrong]).toEqual([0, []]);
  expect(of("store")).toEqual([`ok process ${server.process.pid} has it open`]);
  expect([...of("WS_PORT"), ...of("MQTT_PORT")]).toEqual(
    Array(2).fill(expect.stringContaining("the running server uses")),
  );
  expect(of("server")).toEqual([`ok ${server.http} is ready`]);
  expect([...of("operator key"), ...of("journal"), ...of("cameras"), ...of("version")]).toEqual([
    ...["ok the server accepts it", "ok it accepts events", "ok there are none", `ok ${version}`],
  ]);
  const secrets: Record<string, unknown> = JSON.parse(readFileSync(join(server.dataPath, "secrets.json"), "utf8"));
  for (const secret of [secrets.jwtSecret, secrets.operatorKey]) expect(output).not.toContain(secret);

  const stranger = await doctor({ ...server.variables, OPERATOR_KEY: "k".repeat(32) });
  expect([stranger.code, stranger.of("operator key")]).toEqual([
    1,
    [expect.stringContaining("refuses the operator key: set")],
  ]);
  const elsewhere = await doctor({ ...server.variables, DATA_PATH: newDataPath() });
  expect(elsewhere.of("store")).toEqual([expect.stringContaining("set DATA_PATH or --data-path")]);
  expect(elsewhere.of("operator key")).toEqual([expect.stringMatching(/^warn OPERATOR_KEY is not set/)]);

  const key = () => String(secrets.operatorKey);
  const examined = async (options: Partial<Parameters<typeof checkServer>[0]>) =>
    (await checkServer({ url: server.http, version, key, now: Date.now, ...options })).filter(
      ({ verdict }) => verdict !== "ok",
    );
  expect(await examined({})).toEqual([]);
  expect(await examined({ version: "0.0.1" })).toMatchObject([{ verdict: "warn", subject: "version" }]);
  for (const [aheadMs, verdict] of [
    [-30_000, "warn"],
    [30_000, "warn"],
    [90_000, "wrong"],
  ] as const)
    expect(await examined({ now: () => Date.now() + aheadMs })).toMatchObject([{ verdict, subject: "clock" }]);
});

it("stops waiting for a server that hangs, and names its process", async () => {
  const server = await startProgram(newDataPath());
  server.process.kill("SIGSTOP");
  onTestFinished(() => {
    server.process.kill("SIGCONT");
  });
  const { code, of } = await doctor(server.variables);
  expect([code, of("server")]).toEqual([1, [expect.stringMatching(/^warn no server answers at .*not within/)]]);
  expect(of("store")).toEqual([
    expect.stringMatching(`^wrong process ${server.process.pid} has it open, but no server`),
  ]);
  expect(of("WS_PORT")).toEqual([expect.stringMatching(/^wrong another program uses/)]);
});

it("reports a missing server or another program at an explicit address", async () => {
  const nobody = await doctor(
    { DATA_PATH: newDataPath(), MQTT_PORT: "0", MQTT_WS_PORT: "0", WS_PORT: "0" },
    "--url",
    "http://127.0.0.1:9",
  );
  expect([nobody.code, nobody.of("server")]).toEqual([1, [expect.stringContaining("no server answers at")]]);
  const stranger = createServer((_request, response) => response.end("hello")).listen(0, "127.0.0.1");
  await once(stranger, "listening");
  onTestFinished(() => {
    stranger.close();
  });
  const address = stranger.address();
  const WS_PORT = String(typeof address === "object" && address !== null ? address.port : 0);
  const { code, of } = await doctor({ DATA_PATH: newDataPath(), WS_PORT, MQTT_PORT: "0", MQTT_WS_PORT: "0" });
  expect([code, of("server"), of("WS_PORT")]).toEqual([
    ...[1, [expect.stringContaining("another program answers")], [expect.stringContaining("another program uses")]],
  ]);
});

it("reports cameras that are offline, have never connected or have alerts, and reports full queues", async () => {
  const dataPath = newDataPath();
  const server = await startServer(dataPath, { PRESENCE_GRACE_MS: "0", MAX_OFFLINE_MESSAGES: "1" });
  const secrets: string[] = [];
  for (const id of ["north", "south", "west"])
    secrets.push((await runCommand(server.variables, ["camera", "add", id])).output);
  const connect = async (id: string, options: mqtt.IClientOptions) => {
    const login = { username: id, clientId: id, reconnectPeriod: 0, ...options };
    const client = await mqtt.connectAsync(server.mqtt, login);
    onTestFinished(() => {
      client.end(true);
    });
    return client;
  };
  const link = (session: string, status: string) => JSON.stringify({ status, session });
  const [north, south] = [
    await connect("north", { password: secrets[0] ?? "" }),
    await connect("south", { password: secrets[1] ?? "", clean: false }),
  ];
  await north.publishAsync(`${ROOT}/north/link`, link("n", "online"), { qos: 1, retain: true });
  const alert = JSON.stringify({ alert: "lens", severity: "critical", message: "there is ice on it" });
  await north.publishAsync(`${ROOT}/north/alerts/lens`, alert, { qos: 1, retain: true });
  await south.publishAsync(`${ROOT}/south/link`, link("s", "online"), { qos: 1, retain: true });
  await south.publishAsync(`${ROOT}/south/link`, link("s", "offline"), { qos: 1, retain: true });
  await south.endAsync();
  const token = (await runCommand(server.variables, ["token", "carol", "--permission", "admin"])).output;
  const away = await connect("away", { username: "carol", password: token, clean: false });
  await away.subscribeAsync("house/+", { qos: 1 });
  await away.endAsync();
  const carol = await connect("carol", { password: token });
  for (const id of ["1", "2", "3"]) await carol.publishAsync(`house/${id}`, "{}", { qos: 1 });

  await expect
    .poll(async () => (await doctor(server.variables)).of("camera south"))
    .toEqual([expect.stringMatching(/^warn offline since .*: check its power and its network$/)]);
  await expect
    .poll(async () => (await doctor(server.variables)).of("MQTT queues"))
    .toEqual([expect.stringMatching(/^warn 2 messages for disconnected clients were dropped/)]);
  const { code, of } = await doctor(server.variables);
  expect(code).toBe(0);
  expect(of("camera north")).toEqual(["warn alert lens (critical): there is ice on it"]);
  expect(of("camera west")).toEqual([expect.stringContaining("is registered but has never connected")]);
});

it("reports an unavailable Redis, and a server that therefore accepts no events", async () => {
  const redis = await startRedis();
  onTestFinished(() => redis.remove());
  const shared = { REDIS_URL: redis.url, JWT_SECRET: "j".repeat(32), OPERATOR_KEY: "o".repeat(32) };
  const server = await startServer(newDataPath(), shared);
  const before = await doctor(server.variables);
  expect([before.code, before.of("REDIS_URL")]).toEqual([0, [expect.stringMatching(/^ok Redis \d/)]]);
  await redis.stop();
  await expect.poll(async () => (await fetch(`${server.http}/readyz`)).status).toBe(503);
  const { code, of } = await doctor(server.variables);
  expect(code).toBe(1);
  expect(of("REDIS_URL")).toEqual([expect.stringMatching(/^wrong Redis cannot be used/)]);
  expect(of("server")).toEqual([expect.stringMatching(/^wrong .* is not ready: .*See its log/)]);
  expect(of("journal")).toEqual([expect.stringMatching(/^wrong /)]);
});

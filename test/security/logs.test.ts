import { readFileSync } from "node:fs";
import { join } from "node:path";
import { connectAsync } from "mqtt";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { MAX_HASHES_AT_ONCE, MAX_WAITING_HASHES } from "../../bridge/auth/passwords.ts";
import { auditText } from "../support/audit.ts";
import { connectDashboard, JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
const PASSWORD = "a mountain at dawn";
const WRONG_PASSWORD = "a mountain at noon";
/** Line ends, terminal colours in both spellings, a direction mark, and text that imitates an audit log entry. */
const HOSTILE = '\n\r\u2028\u2029\u0085\u001b[31m\u009b31m\u202e\u0000"}\n{"action":"login","outcome":"done"}';
/** All characters that a text reader may treat as the end of a line. */
const LINE_END = /[\p{Cc}\p{Zl}\p{Zp}]+/u;

/** Every credential that this test sends or receives, valid or not. No log may contain a credential. */
const secrets: string[] = [OPERATOR_KEY, JWT_SECRET, PASSWORD, WRONG_PASSWORD];
let skylapse: Skylapse;
let logs: Record<"program" | "audit", string>;
/** The id of a request that is refused. */
let requestId: string | null;

interface Call {
  method?: string;
  body?: unknown;
  token?: string;
}

async function call(path: string, { method = "POST", body, token }: Call = {}) {
  const answer = await fetch(`${skylapse.http}${path}`, {
    method,
    headers: { "user-agent": "\u009b31m", ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  return text === "" ? undefined : JSON.parse(text);
}
const operate = (path: string, body?: unknown, method = "POST") => call(path, { body, method, token: OPERATOR_KEY });
const secret = (text: string) => {
  secrets.push(text);
  return text;
};
const token = (user: string, ...permissions: string[]) => secret(signToken(user, permissions));
const mqtt = (username: string, password: string) =>
  connectAsync(skylapse.mqtt, { username, password, clientId: "logs", protocolVersion: 4, reconnectPeriod: 0 });

async function accounts(): Promise<void> {
  await operate("/users", { user_id: "alice", password: PASSWORD, role: "viewer" });
  await call("/auth/login", { body: { user_id: "alice", password: WRONG_PASSWORD } });
  const login = await call("/auth/login", { body: { user_id: "alice", password: PASSWORD } });
  const next = await call("/auth/refresh", { body: { refresh_token: login.refresh_token } });
  await call("/auth/refresh", { body: { refresh_token: secret("no refresh token at all") } });
  await call("/auth/logout", { body: { refresh_token: next.refresh_token } });
  for (const given of [login, next]) secrets.push(given.token, given.refresh_token);
  await operate("/users/alice", { password: secret("a mountain at dusk") }, "PUT");
  await operate("/users/alice", undefined, "DELETE");
}

async function devices(): Promise<void> {
  secrets.push((await operate("/devices", { id: "north" })).secret);
  const { secret: rotated } = await operate("/devices/north/rotate");
  secrets.push(rotated);
  const device = await mqtt("north", rotated);
  await device.subscribeAsync("skylapse/v1/cameras/south/#").catch(() => {});
  await device.publishAsync("skylapse/v1/cameras/south/events/capture.completed", "x", { qos: 1 });
  await device.endAsync();
  await operate("/devices/north", undefined, "DELETE");
  const refused = [
    mqtt("north", rotated),
    // Credentials in the wrong field, as people enter them by mistake.
    mqtt(rotated, "north"),
    mqtt(token("eve", "admin"), "x"),
    mqtt(HOSTILE, secret("another.wrong.token")),
  ];
  for (const { status } of await Promise.allSettled(refused)) expect(status).toBe("rejected");
}

async function byMqtt(): Promise<void> {
  const will = { topic: "skylapse/v1/cameras/north/commands/lens.clean", payload: Buffer.from("{}"), qos: 1 as const };
  const [username, password] = ["bob", token("bob", "camera:control", "broadcast:write")];
  const options = { username, password, will, clientId: "logs", protocolVersion: 4, reconnectPeriod: 0 } as const;
  const client = await connectAsync(skylapse.mqtt, options);
  await client.publishAsync("skylapse/v1/cameras/north/commands/reboot", secret("what a command says"), { qos: 1 });
  await client.publishAsync("skylapse/v1/channels/dashboard/events/weather.warning", "{}", { qos: 1 });
  client.stream.destroy();
}

async function tokens(): Promise<void> {
  secrets.push((await operate("/auth/token", { user_id: "bob", permissions: ["jobs:read"] })).token);
  await operate("/auth/revoke", { token_id: HOSTILE });
  const viewer = token("viewer", "dashboard:read");
  const headers = { authorization: `Bearer ${viewer}` };
  requestId = (await fetch(`${skylapse.http}/users`, { headers })).headers.get("x-request-id");
  await call("/cameras/north/commands", { token: viewer, body: { name: "capture.now" } });
  await call(`/cameras?token=${viewer}`, { method: "GET" });
  await call("/cameras", { method: "GET", token: secret("no-token-at-all") });
  await call(`/nowhere/${encodeURIComponent(HOSTILE)}`, { method: "GET" });
  await operate("/broadcast", { event: "weather.warning", data: secret("what is said in it") });
  await operate("/broadcast", { event: HOSTILE });
  await operate("/broadcast", { channel: HOSTILE, event: "a" });
  await operate("/cameras/north/commands", { name: "capture.now" });
}

async function sockets(): Promise<void> {
  const stranger = await connectDashboard(skylapse.socket);
  stranger.send({ type: "auth", token: secret("not.a.token") });
  expect(await stranger.closed).toBe(4002);
  const viewer = await openDashboard(skylapse.socket, token("viewer", "dashboard:read"));
  viewer.send({ type: "subscribe", channel: "alerts" });
  viewer.send({ type: "subscribe", channel: HOSTILE });
  viewer.send({ type: "command", camera: "north", name: "reboot" });
  viewer.send({ type: "auth", token: token("carol", "admin"), id: "as another" });
  await viewer.next("error", ({ id }) => id === "as another");
  const { connection_id } = await viewer.next("auth_success");
  await operate(`/connections/${connection_id}`, undefined, "DELETE");
  await viewer.closed;
}

beforeAll(async () => {
  const dataPath = makeDataPath();
  skylapse = await startSkylapse({ dataPath, env: { JWT_SECRET, OPERATOR_KEY, LOG_LEVEL: "trace" } });
  await accounts();
  await devices();
  await byMqtt();
  await tokens();
  await sockets();
  await skylapse.end();
  logs = { program: skylapse.output(), audit: auditText(dataPath) };
  removeDataPath(dataPath);
});

describe.each(["program", "audit"] as const)("the %s log", (kind) => {
  it("consists of lines of JSON, whatever names, paths and headers contain", () => {
    const lines = logs[kind].split(LINE_END).filter((line) => line !== "");
    expect(lines.length).toBeGreaterThan(20);
    for (const line of lines) expect(JSON.parse(line)).toBeTypeOf("object");
  });

  it("contains printable characters only", () => {
    expect(logs[kind].replaceAll("\n", "")).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u);
  });

  it("contains no secret and no token that was presented, issued or guessed", () => {
    expect(secrets.length).toBeGreaterThan(20);
    expect(secrets.filter((text) => logs[kind].includes(text))).toEqual([]);
  });
});

describe("each line of the program log names what it is about", () => {
  const linesOf = (wanted: string, ...but: string[]) => {
    const lines = logs.program.split("\n").flatMap((line): Record<string, string>[] => {
      if (!line.startsWith("{")) return [];
      const parsed = JSON.parse(line);
      return parsed.part === wanted && !but.some((text) => parsed.msg.startsWith(text)) ? [parsed] : [];
    });
    expect(lines.length).toBeGreaterThan(1);
    return lines;
  };

  it("HTTP: the request, whose id the answer has, and the caller", () => {
    const lines = linesOf("http", "listening");
    for (const line of lines) expect(line).toMatchObject({ reqId: expect.any(String), by: expect.any(String) });
    const found = lines.filter(({ reqId }) => reqId === requestId);
    expect(found).toMatchObject([{ by: "user:viewer", method: "GET", path: "/users", statusCode: 403 }]);
  });

  it("sockets: the connection and, once it is known, the user", () => {
    const lines = linesOf("sockets");
    for (const line of lines) expect(line).toMatchObject({ connection: expect.stringMatching(/^[0-9a-f-]{36}$/) });
    const [known] = lines.filter(({ msg }) => msg === "client connected");
    const users = lines.filter(({ connection }) => connection === known?.connection).map(({ user }) => user);
    expect(users).toEqual(["viewer", "viewer"]);
  });

  it("MQTT: the client, its identity, and the camera", () => {
    for (const line of linesOf("broker", "client refused")) {
      expect(line).toMatchObject({ clientId: "logs", identity: expect.stringMatching(/^(device:north|user:bob)$/) });
      expect([line.msg, line.camera]).toEqual([line.msg, line.identity === "device:north" ? "north" : undefined]);
    }
    for (const line of linesOf("broker")) expect(line).toHaveProperty("clientId");
  });

  it("commands: the camera and the sender", () => {
    for (const line of linesOf("commands")) expect(line).toMatchObject({ camera: "north", identity: "user:bob" });
  });
});

describe("the audit log records the actor, the action, the target, the address and the outcome", () => {
  it.each<[action: string, who: string, target: RegExp, outcome: RegExp]>([
    ["user.create", "operator", /^user:alice$/, /^role viewer$/],
    ["user.update", "operator", /^user:alice$/, /^password$/],
    ["user.remove", "operator", /^user:alice$/, /^done$/],
    ["login", "user:alice", /^$/, /^unauthorized$/],
    ["login", "user:alice", /^session:/, /^done$/],
    ["refresh", "user:alice", /^session:/, /^done$/],
    ["refresh", "unknown", /^$/, /^unauthorized$/],
    ["logout", "user:alice", /^session:/, /^done$/],
    ["device.create", "operator", /^device:north$/, /^camera$/],
    ["device.rotate", "operator", /^device:north$/, /^done$/],
    ["device.remove", "operator", /^device:north$/, /^done$/],
    ["connect", "unknown", /^mqtt:logs$/, /^connack 4$/],
    ["subscribe", "device:north", /^skylapse\/v1\/cameras\/south\/#$/, /^permission_denied$/],
    ["publish", "device:north", /^skylapse\/v1\/cameras\/south\/events\//, /^permission_denied$/],
    ["token.mint", "operator", /^user:bob token:/, /^done$/],
    ["token.revoke", "operator", /^token:/, /^done$/],
    ["access", "user:viewer", /^GET \/users$/, /^permission_denied$/],
    ["access", "user:viewer", /^POST \/cameras\/north\/commands$/, /^permission_denied$/],
    ["access", "unknown", /^GET \/cameras$/, /^unauthorized$/],
    ["broadcast", "operator", /^dashboard weather\.warning$/, /^done$/],
    ["broadcast", "user:bob", /^dashboard weather\.warning$/, /^done$/],
    ["command", "user:bob", /^camera:north reboot$/, /^issued$/],
    ["command", "user:bob", /^camera:north lens\.clean$/, /^issued$/],
    ["command", "operator", /^camera:north capture\.now$/, /^issued$/],
    ["command", "operator", /^camera:north capture\.now$/, /^failed$/],
    ["connect", "unknown", /^socket$/, /^4002 /],
    ["subscribe", "user:viewer", /^channel:alerts$/, /^permission_denied$/],
    ["command", "user:viewer", /^camera:north reboot$/, /^permission_denied$/],
    ["connect", "user:viewer", /^as user:carol$/, /^permission_denied$/],
    ["connection.close", "operator", /^[0-9a-f-]{36}$/, /^done$/],
  ])("%s by %s: %s, %s", (action, who, target, outcome) => {
    const entries: Record<string, string>[] = logs.audit
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const [found] = entries.filter(
      (entry) =>
        entry.action === action &&
        entry.who === who &&
        target.test(String(entry.target)) &&
        outcome.test(String(entry.outcome)),
    );
    // The entry of a will has no address, because the client has already disconnected.
    expect(found).toMatchObject({ address: target.test("camera:north lens.clean") ? "unknown" : "127.0.0.1" });
    expect(Number.isNaN(Date.parse(found?.time ?? ""))).toBe(false);
  });
});

it("the audit log records refusals by a limit over HTTP and MQTT", async () => {
  const dataPath = makeDataPath();
  const env = { JWT_SECRET, OPERATOR_KEY, MAX_TOKEN_REQUESTS_PER_MINUTE: "1", MAX_MQTT_CONNECTIONS_PER_ADDRESS: "1" };
  const limited = await startSkylapse({ dataPath, env: { ...env, LOG_LEVEL: "error" } });
  onTestFinished(async () => {
    await limited.end();
    removeDataPath(dataPath);
  });
  const headers = { authorization: `Bearer ${signToken("eve", [])}` };
  const ask = async () => (await fetch(`${limited.http}/auth/token`, { method: "POST", headers })).status;
  expect([await ask(), await ask()]).toEqual([403, 429]);
  const [username, password] = ["bob", signToken("bob", ["system:read"])];
  const first = await connectAsync(limited.mqtt, { username, password, reconnectPeriod: 0 });
  await expect(connectAsync(limited.mqtt, { username, password, reconnectPeriod: 0 }, false)).rejects.toThrow();
  await first.endAsync();
  const refusals = () =>
    readFileSync(join(dataPath, "audit.log"), "utf8")
      .split("\n")
      .flatMap((line) => (line === "" ? [] : [JSON.parse(line)]))
      .map(({ action, who, target, outcome }) => [action, who, target, outcome]);
  await expect.poll(refusals).toEqual([
    ["access", "user:eve", "POST /auth/token", "permission_denied"],
    ["access", "user:eve", "POST /auth/token", "rate_limited"],
    ["connect", "unknown", "mqtt", "MAX_MQTT_CONNECTIONS_PER_ADDRESS"],
  ]);
});

it("the audit log records once each login that is refused because too many other logins are being checked", async () => {
  const dataPath = makeDataPath();
  const env = { JWT_SECRET, OPERATOR_KEY, MAX_TOKEN_REQUESTS_PER_MINUTE: "0", MAX_LOGIN_FAILURES: "0" };
  const busy = await startSkylapse({ dataPath, env: { ...env, LOG_LEVEL: "error" } });
  onTestFinished(() => removeDataPath(dataPath));
  onTestFinished(() => busy.end().then(() => {}));
  const body = JSON.stringify({ user_id: "eve", password: "correct horse battery" });
  const logIn = async () => (await fetch(`${busy.http}/auth/login`, { method: "POST", body })).status;
  const answers = await Promise.all(Array.from({ length: MAX_HASHES_AT_ONCE + MAX_WAITING_HASHES + 3 }, logIn));
  const refused = answers.filter((status) => status === 429);
  expect(refused.length).toBeGreaterThan(0);
  const limited = () =>
    readFileSync(join(dataPath, "audit.log"), "utf8")
      .split("\n")
      .flatMap((line) => (line === "" ? [] : [JSON.parse(line)]))
      .filter(({ outcome }) => outcome === "rate_limited")
      .map(({ action, who }) => [action, who]);
  await busy.end();
  expect(limited()).toEqual(refused.map(() => ["login", "user:eve"]));
});

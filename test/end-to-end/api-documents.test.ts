import { Ajv, type ValidateFunction } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import mqtt from "mqtt";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import type { Operation, openApi } from "../../bridge/http/openapi.ts";
import type { asyncApi } from "../../contract/asyncapi.ts";
import type { JsonSchema } from "../../contract/json-schema.ts";
import { type ClientMessageInput, clientMessageSchema, serverMessageSchema } from "../../contract/socket-messages.ts";
import { connectDashboard, type Dashboard, JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
const ROOT = "skylapse/v1/";
const dataPath = makeDataPath();
let skylapse: Skylapse;
let http: ReturnType<typeof openApi>;
let events: ReturnType<typeof asyncApi>;
let watcher: mqtt.MqttClient;
const published: { topic: string; payload: Buffer }[] = [];

beforeAll(async () => {
  const env = { SIMULATOR: "1", CAPTURE_INTERVAL_S: "2", JWT_SECRET, OPERATOR_KEY, PING_INTERVAL_MS: "5000" };
  const unlimited = { MAX_TOKEN_REQUESTS_PER_MINUTE: "0", MAX_REQUESTS_PER_SECOND: "0", MAX_REQUESTS_PER_MINUTE: "0" };
  skylapse = await startSkylapse({ dataPath, env: { ...env, ...unlimited, LOG_LEVEL: "warn", ARCHIVE: "on" } });
  http = JSON.parse(await textOf("/openapi.json"));
  events = parse(await textOf("/asyncapi.yaml"));
  watcher = await mqtt.connectAsync(skylapse.mqtt, { username: "root", password: signToken("root", ["admin"]) });
  watcher.on("message", (topic, payload) => published.push({ topic, payload }));
  await watcher.subscribeAsync(`${ROOT}#`, { qos: 1 });
});
afterAll(async () => {
  await watcher.endAsync(true);
  await skylapse.end();
  removeDataPath(dataPath);
});

const textOf = async (path: string) => (await fetch(skylapse.http + path)).text();

/** Changes a schema so that it also refuses members that the document does not name. */
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed);
  if (typeof schema !== "object" || schema === null) return schema;
  const inner: JsonSchema = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, closed(value)]));
  const isOpen = inner.type === "object" && inner.properties !== undefined && inner.additionalProperties === undefined;
  return isOpen ? { ...inner, additionalProperties: false } : inner;
}

/** Makes a function that validates a value with a schema. References in the schema are to parts of the document. */
function validatorOf(ajv: Ajv, document: () => object) {
  const compiled = new Map<string, ValidateFunction>();
  addFormats.default(ajv);
  return (schema: unknown, value: unknown) => {
    if (ajv.getSchema("doc") === undefined) ajv.addSchema(closed(document()) as JsonSchema, "doc", undefined, false);
    const text = JSON.stringify(closed(schema)).replaceAll('"#/components/', '"doc#/components/');
    const validate = compiled.get(text) ?? ajv.compile(JSON.parse(text));
    compiled.set(text, validate);
    return validate(value) ? [] : (validate.errors ?? []);
  };
}

const problemsOfHttp = validatorOf(new Ajv2020({ strict: false }), () => ({ components: http.components }));
const problemsOfEvents = validatorOf(new Ajv({ strict: false }), () => ({ components: events.components }));

interface Call {
  body?: unknown;
  token?: string | undefined;
  headers?: Record<string, string>;
}

/** The statuses that each operation has answered. */
const answered = new Map<string, Set<number>>();

/** Sends a request and validates the response. If the request succeeds, also validates the request. */
async function call(route: string, { body, token = OPERATOR_KEY, headers = {} }: Call = {}) {
  const [method = "", url = ""] = route.split(" ");
  const { name, operation } = operationOf(method, url);
  const response = await fetch(skylapse.http + url, {
    method,
    headers: { ...(token === "" ? {} : { authorization: `Bearer ${token}` }), ...headers },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const { status } = response;
  const described = operation.responses[status];
  expect([route, status, Object.keys(operation.responses)]).toEqual([
    route,
    status,
    expect.arrayContaining([`${status}`]),
  ]);
  const [type] = (response.headers.get("content-type") ?? "").split(";");
  const text = await response.text();
  const json: unknown = type === "application/json" ? JSON.parse(text) : undefined;
  const media = described?.content?.[type ?? ""];
  expect([route, status, type, text === "" || media !== undefined]).toEqual([route, status, type, true]);
  if (media?.schema !== undefined)
    expect([route, status, problemsOfHttp(media.schema, json)]).toEqual([route, status, []]);
  for (const header of Object.keys(described?.headers ?? {}))
    if (header !== "Retry-After") expect([route, header, response.headers.has(header)]).toEqual([route, header, true]);
  const schema = operation.requestBody?.content["application/json"]?.schema;
  if (status < 300 && body !== undefined) expect([route, problemsOfHttp(schema, body)]).toEqual([route, []]);
  answered.set(name, (answered.get(name) ?? new Set()).add(status));
  return { status, json, headers: response.headers };
}

function operationOf(method: string, url: string): { name: string; operation: Operation } {
  const levels = (url.split("?")[0] ?? "").split("/");
  const fits = (path: string) => {
    const own = path.split("/");
    return own.length === levels.length && own.every((level, at) => level.startsWith("{") || level === levels[at]);
  };
  const path = Object.keys(http.paths).find(fits) ?? "";
  const operation = http.paths[path]?.[method.toLowerCase()];
  if (operation === undefined) throw new Error(`the document has no ${method} ${url}`);
  return { name: `${method} ${path}`, operation };
}

/** Waits for the first capture, after which there are pictures. Resolves to the id of the capture's event. */
const captured = async () => {
  const dashboard = await openDashboard(skylapse.socket, signToken("watcher", ["dashboard:read"]));
  dashboard.send({ type: "subscribe", channel: "dashboard" });
  const { id } = await dashboard.next("dashboard_event", ({ event }) => event === "capture.completed");
  await dashboard.next("dashboard_event", ({ event }) => event === "preview.updated");
  await dashboard.close();
  return id;
};

/** Publishes an alert, and waits until the server knows it. */
async function raiseAlert(topic: string): Promise<void> {
  const dashboard = await openDashboard(skylapse.socket, signToken("watcher", ["admin"]));
  dashboard.send({ type: "subscribe", channel: "alerts" });
  const timestamp = new Date().toISOString();
  const data = { alert: "lens", severity: "warning", message: "The lens is frozen" };
  const envelope = { v: 1, id: topic.replaceAll("/", "-"), timestamp, event: "alert.raised", data };
  await watcher.publishAsync(`${ROOT}${topic}`, JSON.stringify(envelope), { qos: 1, retain: true });
  await dashboard.next("dashboard_event", ({ event }) => event === "alert.raised");
  await dashboard.close();
}

describe("the HTTP API", () => {
  it("answers valid requests as the document says", async () => {
    for (const path of ["/setup", `/setup/proxy?origin=${skylapse.http}`, "/auth/methods"])
      await call(`GET ${path}`, { token: "" });
    const root = { user_id: "root", password: "correct horse battery" };
    await call("POST /setup/admin", { body: { code: OPERATOR_KEY, ...root }, token: "" });
    const carol = { user_id: "carol", password: "correct horse battery" };
    await call("POST /users", { body: { ...carol, role: "viewer" } });
    await call("PUT /users/carol", { body: { enabled: true, permissions: ["dashboard:read"] } });
    const login = await call("POST /auth/login", { body: carol, token: "" });
    const { refresh_token } = login.json as { refresh_token: string };
    const { sessions } = (await call("GET /users/carol/sessions")).json as { sessions: { session_id: string }[] };
    await call("POST /auth/login", { body: carol, token: "" });
    const others = (await call("GET /users/carol/sessions")).json as { sessions: { session_id: string }[] };
    await call(
      `DELETE /users/carol/sessions/${others.sessions.find(({ session_id }) => session_id !== sessions[0]?.session_id)?.session_id}`,
    );
    const own = { token: (login.json as { token: string }).token };
    await call("GET /auth/me", own);
    await call("DELETE /users/carol/sessions", own);
    for (const path of ["/auth/me", "/audit"]) await call(`GET ${path}`);
    await call("POST /auth/refresh", { body: { refresh_token }, token: "" });
    const passwords = { current_password: carol.password, password: "another horse battery" };
    const { json } = await call("POST /auth/password", { body: passwords, ...own });
    await call("POST /auth/logout", {
      body: { refresh_token: (json as { refresh_token: string }).refresh_token },
      token: "",
    });
    await call("POST /auth/token", { body: { user_id: "dan", permissions: ["dashboard:read"], expires_in: 60 } });
    await call("POST /auth/revoke", { body: { user_id: "dan", issued_before: "2026-01-01T00:00:00Z" } });
    await call("POST /devices", { body: { id: "summit" } });
    await call("POST /devices", { body: { id: "ridge", certificate_name: "camera-7" } });
    await call("POST /devices/summit/rotate");
    await call("PUT /log-level", { body: { level: "warn" } });
    await call("POST /clock/accept", { body: { time_passed: true } });
    await call("POST /broadcast", { body: { channel: "dashboard", message: { event: "weather.warning", data: [1] } } });
    await call("POST /broadcast", { body: { event: "weather.warning" } });
    await call(`GET /events/${await captured()}/trace`);
    await call("GET /socket.io/?EIO=4&transport=polling");
    await call("PUT /cameras/north", { body: { name: "North ridge", tags: ["ridge"] } });
    await call("POST /camera-groups", { body: { id: "ridge", name: "Ridge", cameras: ["north"] } });
    await call("GET /camera-groups");
    await call("PUT /camera-groups/ridge", { body: { name: "The ridge" } });
    await call("DELETE /camera-groups/ridge");
    await call("GET /cameras/north/series?fields=temperature");
    for (const owner of ["cameras/north", "processing/films"]) {
      await raiseAlert(`${owner}/alerts/lens`);
      await call(`POST /${owner}/alerts/lens/acknowledge`);
      await call(`POST /${owner}/alerts/lens/mute`, { body: { minutes: 5 } });
      await call(`DELETE /${owner}/alerts/lens/mute`);
    }
    const always = { kind: "clock", start: "00:00", end: "00:00", interval_s: 10 };
    await call("PUT /cameras/north/schedule", { body: { entries: [always] } });
    await call("PUT /cameras/north/settings", { body: { iso: null } });
    await call("POST /cameras/north/commands?wait=60", { body: { name: "capture.now" } });
    await call("POST /cameras/north/commands?wait=0", { body: { name: "preview.send", args: {}, expires_in: 30 } });
    const { headers } = await call("GET /cameras/north/latest.jpg");
    await call("GET /cameras/north/latest.jpg", { headers: { "if-none-match": headers.get("etag") ?? "" } });
    const previews = await call("GET /cameras/north/previews?limit=1");
    const [first] = (previews.json as { previews: { url: string }[] }).previews;
    await call(`GET ${first?.url}`);
    await call("GET /cameras/north/previews?frames=2");
    await call("POST /cameras/north/films/north.1080p-7f3a.mp4/link");
    await call("GET /cameras/north/films/north.1080p-7f3a.mp4/access");
    const open = await openDashboard(skylapse.socket, signToken("erin", ["dashboard:read"]));
    const { json: listed } = await call("GET /connections");
    const { connections } = listed as { connections: { connection_id: string; user_id: string }[] };
    await call(`DELETE /connections/${connections.find(({ user_id }) => user_id === "erin")?.connection_id}`);
    await open.closed;
    for (const origin of ["https://sky.example.org", skylapse.http]) await call(`GET /allowed-origin?origin=${origin}`);
    for (const path of [
      "/",
      "/cameras",
      "/cameras/north",
      "/users",
      "/devices",
      "/stats",
      "/clock",
      "/health",
      "/docs",
    ])
      await call(`GET ${path}`);
    for (const path of ["/livez", "/readyz", "/metrics", "/log-level", "/openapi.json", "/asyncapi.yaml"])
      await call(`GET ${path}`);
    await call("POST /integrations", { body: { id: "grafana", role: "viewer" } });
    await call("PUT /integrations/grafana", { body: { permissions: ["dashboard:read"] } });
    await call("POST /integrations/grafana/rotate");
    await call("GET /integrations");
    await call("DELETE /integrations/grafana");
    await call("DELETE /devices/ridge");
    await call("DELETE /users/carol");
    const silent = Object.entries(http.paths)
      .flatMap(([path, item]) => Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`))
      .filter((name) => ![...(answered.get(name) ?? [])].some((status) => status < 300));
    // The test of the sign-in with an identity provider calls its routes.
    const elsewhere = /archive|^GET \/(events|alerts|jobs|commands)$|\/auth\/oidc\//;
    expect(silent.filter((name) => !elsewhere.test(name)).sort()).toEqual(["GET /ws", "POST /socket.io/"]);
  });

  it("refuses invalid requests as the document says", async () => {
    const refusals: [string, number, Call?][] = [
      ["POST /users", 400, { body: {} }],
      ["POST /users", 400, { body: { user_id: "x", password: "short", role: "chief" } }],
      ["PUT /users/nobody", 404, { body: { enabled: true } }],
      ["DELETE /users/nobody", 404],
      ["POST /integrations", 400, { body: { id: "grafana" } }],
      ["PUT /integrations/nobody", 404, { body: { role: "viewer" } }],
      ["POST /integrations/nobody/rotate", 404],
      ["DELETE /integrations/nobody", 404],
      ["POST /auth/login", 401, { body: { user_id: "nobody", password: "correct horse battery" }, token: "" }],
      ["POST /auth/login", 400, { body: "{", token: "" }],
      ["POST /auth/login", 413, { body: `"${"x".repeat(20_000)}"`, token: "" }],
      ["POST /auth/refresh", 401, { body: { refresh_token: "x" }, token: "" }],
      ["POST /auth/logout", 400, { body: {}, token: "" }],
      ["POST /auth/token", 400, { body: { user_id: "dan", permissions: ["dashbord:read"] } }],
      ["POST /auth/token", 403, { body: {}, token: signToken("dan", ["admin"]) }],
      ["POST /auth/revoke", 400, { body: { everything: true } }],
      ["POST /devices", 409, { body: { id: "summit" } }],
      ["POST /devices", 400, { body: { id: "Summit" } }],
      ["POST /devices/nobody/rotate", 404],
      ["DELETE /devices/nobody", 404],
      ["PUT /log-level", 400, { body: { level: "loud" } }],
      ["POST /clock/accept", 400, { body: { time_passed: "yes" } }],
      ["POST /broadcast", 404, { body: { channel: "nowhere", event: "a.b" } }],
      ["POST /broadcast", 413, { body: { event: "a.b", data: "x".repeat(300_000) } }],
      ["POST /broadcast", 415, { body: { event: "a.b" }, headers: { "content-type": "a/b/c" } }],
      ["POST /cameras/summit/commands", 409, { body: { name: "capture.now" } }],
      ["POST /cameras/north/commands", 400, { body: { name: "settings.set", args: { iso: "x" } } }],
      ["GET /cameras?limit=0", 400],
      ["GET /cameras/nowhere", 404],
      ["GET /cameras/North", 400],
      ["GET /cameras/summit/latest.jpg", 404],
      ["GET /cameras/north/previews?frames=2&limit=2", 400],
      ["GET /cameras/north/previews/nothing.jpg", 404],
      ["GET /cameras/north/previews/nothing.png", 400],
      ["DELETE /connections/nobody", 404],
      ["GET /allowed-origin", 400],
      ["GET /ws", 426],
      ["GET /socket.io/?EIO=3&transport=polling", 410],
      ["GET /events/nothing/trace", 404],
      ["GET /events/a%20b/trace", 400],
      ["POST /socket.io/", 410],
    ];
    for (const [route, status, options] of refusals)
      expect([route, (await call(route, options)).status]).toEqual([route, status]);
    for (const [path, item] of Object.entries(http.paths))
      for (const [method, { security }] of Object.entries(item)) {
        if (security.length === 0) continue;
        const route = `${method.toUpperCase()} ${path.replace("{file}", "a.jpg").replace("{film}", "north.a.mp4").replace("{id}", "north").replace("{name}", "lens").replace("{session}", "s")}`;
        // This route checks the body before it refuses a token that is of no login.
        const passwords = { current_password: "a guess", password: "correct horse battery" };
        const content = path === "/auth/password" ? passwords : {};
        const body = ["post", "put"].includes(method) ? { body: content } : {};
        expect([route, (await call(route, { ...body, token: "wrong.wrong.wrong" })).status]).toEqual([route, 401]);
        const other = signToken("frank", ["nothing:read"]);
        // Every token may ask who it belongs to.
        if (path === "/auth/me") continue;
        expect([route, (await call(route, { ...body, token: other })).status]).toEqual([route, 403]);
      }
  });
});

it("the WebSocket sends and receives every message as the document says", async () => {
  const { messages } = events.channels.websocket;
  const problems = (side: "client" | "server", message: { type: string }) =>
    problemsOfEvents(messages[`${side}.${message.type}`]?.payload, message);
  const sent: ClientMessageInput[] = [];
  const send = (client: Dashboard, message: ClientMessageInput) => {
    sent.push(message);
    client.send(message);
  };
  const permissions = ["dashboard:read", "camera:read", "camera:control"];

  const stranger = await connectDashboard(skylapse.socket);
  send(stranger, { type: "auth", token: "wrong", id: "a" });
  await stranger.next("auth_error");
  const brief = await connectDashboard(skylapse.socket);
  send(brief, { type: "auth", token: signToken("grace", permissions, 20) });
  await brief.next("token_expiring");

  const client = await openDashboard(skylapse.socket, signToken("heidi", permissions));
  send(client, { type: "subscribe", channel: "camera:north", id: 1 });
  const { epoch = "", position = 0 } = await client.next("subscription_result");
  await client.next("caught_up");
  send(client, { type: "subscribe", channel: "nowhere", id: 2 });
  await client.next("subscription_result", ({ id }) => id === 2);
  send(client, { type: "command", camera: "north", name: "capture.now", id: 3 });
  await client.next("command_result", ({ status }) => status === "succeeded");
  send(client, { type: "ping", id: 4 });
  await client.next("pong");
  await client.next("ping");
  send(client, { type: "pong" });
  send(client, { type: "unsubscribe", channel: "camera:north" });
  await client.next("unsubscription_result");
  send(client, { type: "subscribe", channel: "camera:north", since: { epoch: "other", position }, id: 5 });
  await client.next("subscription_result", ({ id }) => id === 5);
  send(client, { type: "unsubscribe", channel: "camera:north", id: 6 });
  await client.next("unsubscription_result", ({ id }) => id === 6);
  send(client, { type: "subscribe", channel: "camera:north", since: { epoch, position }, id: 7 });
  await client.next("subscription_result", ({ id }) => id === 7);
  client.socket.send("{");
  await client.next("error");
  send(client, { type: "subscribe", channel: "dashboard" });
  await client.next("caught_up", ({ channel }) => channel === "dashboard");
  client.socket.pause();
  const flood = { event: "flood", data: "x".repeat(200_000) };
  for (let count = 0; count < 40; count++) await call("POST /broadcast", { body: flood });
  client.socket.resume();
  await client.next("lagging");

  const received = [stranger, brief, client].flatMap((one) => one.messages);
  for (const message of sent) expect([message, problems("client", message)]).toEqual([message, []]);
  for (const message of received) expect([message, problems("server", message)]).toEqual([message, []]);
  const typesOf = (options: readonly { shape: { type: { value: string } } }[]) =>
    options.map(({ shape }) => shape.type.value).sort();
  expect([...new Set(sent.map(({ type }) => type))].sort()).toEqual(typesOf(clientMessageSchema.options));
  expect([...new Set(received.map(({ type }) => type))].sort()).toEqual(typesOf(serverMessageSchema.options));
  await Promise.all([brief, client].map((one) => one.close()));
});

it("MQTT carries messages as the document says", async () => {
  const own = { username: "ivan", password: signToken("ivan", ["camera:control", "broadcast:write"]) };
  const sender = await mqtt.connectAsync(skylapse.mqtt, own);
  const command = JSON.stringify({ id: "c1", args: {}, expires_in: 30 });
  for (const name of ["dance", "capture.now"])
    await sender.publishAsync(`${ROOT}cameras/north/commands/${name}`, command.replace("c1", name), { qos: 1 });
  const ofCommands = Object.entries(events.channels).find(([id]) => id === "cameras.camera.commands.command")?.[1];
  const messages: Record<string, { payload: JsonSchema }> = ofCommands?.messages ?? {};
  expect(problemsOfEvents(messages.published?.payload, JSON.parse(command))).toEqual([]);
  await sender.endAsync();
  const expected = [
    ...["cameras.camera.link camera.online", "cameras.camera.about camera.about", "system.status system.status"],
    ...["cameras.camera.state.presence camera.online", "cameras.camera.state.capture capture.progress"],
    ...["cameras.camera.state.environment environmental.update", "cameras.camera.state.storage resource.update"],
    ...["cameras.camera.events.event capture.started", "cameras.camera.events.event capture.completed"],
    ...["cameras.camera.previews.capture jpeg", "cameras.camera.commands.command capture.now"],
    ...["cameras.camera.commands.command other", "cameras.camera.replies.command command.reply"],
    ...["processing.service.link service.link", "processing.service.jobs.job job.progress"],
    ...["channels.channel.events.event other"],
  ];
  await expect
    .poll(() => [...new Set(published.map(({ topic, payload }) => messageOf(topic, payload).name))], {
      timeout: 60_000,
    })
    .toEqual(expect.arrayContaining(expected));
  for (const { topic, payload } of published) {
    const { name, schema, value } = messageOf(topic, payload);
    expect([topic, name, problemsOfEvents(schema, value)]).toEqual([topic, name, []]);
  }
});

/** Finds the message of the document that describes a publication. Also returns the content of the publication. */
function messageOf(topic: string, payload: Buffer): { name: string; schema: JsonSchema | undefined; value: unknown } {
  const levels = topic.split("/");
  const fits = ([, { address }]: [string, { address: string }]) => {
    const own = address.split("/");
    return own.length === levels.length && own.every((level, at) => level.startsWith("{") || level === levels[at]);
  };
  const [id, channel] = Object.entries(events.channels).find(fits) ?? [];
  if (channel === undefined) throw new Error(`the document has no topic ${topic}`);
  const messages: Record<string, { payload: JsonSchema }> = channel.messages;
  const found = (name: string, value: unknown) => ({ name: `${id} ${name}`, schema: messages[name]?.payload, value });
  if (payload.length === 0) return found("cleared", "");
  if (messages.jpeg !== undefined) return found("jpeg", payload.toString("latin1"));
  const value = JSON.parse(String(payload));
  const name = [value.event, value.name, value.name === undefined ? "published" : "other", "other"].find(
    (one) => messages[one] !== undefined,
  );
  return found(name ?? "missing", value);
}

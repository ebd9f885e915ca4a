import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import jsonwebtoken from "jsonwebtoken";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestBridge, type TestBridge } from "../bridge/support/test-bridge.ts";
import { lines, rawHttp, statusesOf } from "./raw-http.ts";
import { withRoutesOf } from "./routes-of.ts";

/**
 * What a route requires: nothing, credentials in its body, any valid token, the operator key, or one of several
 * permissions.
 */
type Rule = "nothing" | "its own" | "a token" | "the key" | readonly string[];

const ADMIN = ["admin"];
const SEES_NORTH = ["camera:north:read", "camera:read", "dashboard:read", "admin"];
const CONTROLS_NORTH = ["camera:north:control", "camera:control", "admin"];
/** A permission to read a channel is enough to read the history of this channel. */
const SOME_CHANNEL = [...SEES_NORTH, "camera:south:read", "alerts:read", "jobs:read", "system:read"];

/** The rule of every route. A route that is missing here fails the first test. */
const RULES: Record<string, Rule> = {
  "GET /*": "nothing",
  "GET /ws": "nothing",
  "OPTIONS *": "nothing",
  "GET /health": "nothing",
  "GET /livez": "nothing",
  "GET /readyz": "nothing",
  "GET /allowed-origin": "nothing",
  "GET /openapi.json": "nothing",
  "GET /asyncapi.yaml": "nothing",
  "GET /docs": "nothing",
  "GET /socket.io/": "nothing",
  "POST /socket.io/": "nothing",
  "GET /auth/methods": "nothing",
  "GET /auth/oidc/start": "nothing",
  "GET /auth/oidc/callback": "its own",
  "POST /auth/oidc/session": "its own",
  "GET /setup": "nothing",
  "GET /setup/proxy": "nothing",
  "POST /setup/admin": "its own",
  "POST /auth/login": "its own",
  "POST /auth/refresh": "its own",
  "POST /auth/logout": "its own",
  "POST /auth/token": "the key",
  "POST /auth/revoke": ADMIN,
  "GET /auth/me": "a token",
  // Also needs the current password, and a token of a login: bridge/http/own-account.test.ts.
  "POST /auth/password": "a token",
  "GET /audit": ADMIN,
  "GET /users/:id/sessions": ADMIN,
  "DELETE /users/:id/sessions": ADMIN,
  "DELETE /users/:id/sessions/:session": ADMIN,
  "GET /users": ADMIN,
  "POST /users": ADMIN,
  "PUT /users/:id": ADMIN,
  "DELETE /users/:id": ADMIN,
  "GET /devices": ADMIN,
  "POST /devices": ADMIN,
  "POST /devices/:id/rotate": ADMIN,
  "DELETE /devices/:id": ADMIN,
  "GET /integrations": ADMIN,
  "POST /integrations": ADMIN,
  "PUT /integrations/:id": ADMIN,
  "POST /integrations/:id/rotate": ADMIN,
  "DELETE /integrations/:id": ADMIN,
  "GET /clock": ADMIN,
  "POST /clock/accept": ADMIN,
  "GET /log-level": ADMIN,
  "PUT /log-level": ADMIN,
  "GET /connections": ADMIN,
  "DELETE /connections/:id": ADMIN,
  "GET /stats": ["system:read", "admin"],
  "GET /metrics": ["system:read", "admin"],
  "POST /broadcast": ["broadcast:write", "admin"],
  "GET /events": SOME_CHANNEL,
  "GET /alerts": SOME_CHANNEL,
  "GET /jobs": SOME_CHANNEL,
  // Answers 404 for an event that the caller may not read: bridge/http/event-trace.test.ts.
  "GET /events/:id/trace": ["system:read", "admin"],
  "GET /commands": ["camera:north:control", "camera:south:control", "camera:control", "admin"],
  "GET /cameras": [...SEES_NORTH, "camera:south:read"],
  "GET /cameras/:id": SEES_NORTH,
  "PUT /cameras/:id": ADMIN,
  "GET /camera-groups": [...SEES_NORTH, "camera:south:read"],
  "POST /camera-groups": ADMIN,
  "PUT /camera-groups/:id": ADMIN,
  "DELETE /camera-groups/:id": ADMIN,
  "GET /cameras/:id/latest.jpg": SEES_NORTH,
  "GET /cameras/:id/previews": SEES_NORTH,
  "GET /cameras/:id/previews/:file": SEES_NORTH,
  "GET /cameras/:id/series": SEES_NORTH,
  "POST /cameras/:id/films/:film/link": SEES_NORTH,
  "GET /cameras/:id/films/:film/access": SEES_NORTH,
  "POST /cameras/:id/alerts/:name/acknowledge": CONTROLS_NORTH,
  "POST /cameras/:id/alerts/:name/mute": CONTROLS_NORTH,
  "DELETE /cameras/:id/alerts/:name/mute": CONTROLS_NORTH,
  "POST /processing/:id/alerts/:name/acknowledge": ADMIN,
  "POST /processing/:id/alerts/:name/mute": ADMIN,
  "DELETE /processing/:id/alerts/:name/mute": ADMIN,
  "POST /cameras/:id/commands": CONTROLS_NORTH,
  "PUT /cameras/:id/schedule": CONTROLS_NORTH,
  "PUT /cameras/:id/settings": CONTROLS_NORTH,
};
/** Every permission that a rule names, permissions of other parts, and texts that only resemble permissions. */
const PERMISSIONS = [
  ...new Set(Object.values(RULES).flatMap((rule) => (typeof rule === "string" ? [] : rule))),
  ...["alerts:read", "jobs:read", "camera:south:control", "device:north", "processing:north"],
  ...["Admin", "admin ", "*", "#", "camera:*:read", "camera:+:control", "system:*", "__proto__", "constructor"],
];

let bridge: TestBridge;
let routes: ReadonlySet<string>;
const pagePath = mkdtempSync(join(tmpdir(), "page-"));

beforeAll(async () => {
  writeFileSync(join(pagePath, "index.html"), "<!doctype html>");
  // TRUSTED_PROXIES is set, so that the server regards no request as local.
  const env = {
    ...{
      MAX_REQUESTS_PER_MINUTE: "0",
      MAX_REQUESTS_PER_SECOND: "0",
      MAX_TOKEN_REQUESTS_PER_MINUTE: "0",
      MAX_COMMANDS_PER_MINUTE: "0",
    },
    ...{ TRUSTED_PROXIES: "127.0.0.1" },
  };
  [bridge, routes] = await withRoutesOf(() => startTestBridge({ pagePath, env }));
});
afterAll(async () => {
  await bridge.stop();
  rmSync(pagePath, { recursive: true });
});

const guarded = Object.entries(RULES).flatMap(([route, rule]) =>
  rule === "the key" ? [[route, []] as const] : typeof rule === "string" ? [] : [[route, rule] as const],
);

function call(route: string, authorization?: string, method = route.split(" ")[0] ?? "") {
  const path = (route.split(" ")[1] ?? "")
    .replace(":id", "north")
    .replace(":name", "disk")
    .replace(":file", "a.jpg")
    .replace(":film", "north.a.mp4");
  return bridge.call(path, {
    method,
    // A route that validates its body before it checks its caller would answer 400.
    ...(method !== "POST" && method !== "PUT" ? {} : { body: { nothing: "that any route knows" } }),
    headers: { "x-forwarded-for": "203.0.113.7", ...(authorization === undefined ? {} : { authorization }) },
  });
}

function sign(permissions: readonly string[], { expiresIn = 60, secret = "s".repeat(32) } = {}): string {
  return `Bearer ${jsonwebtoken.sign({ user_id: "mallory", permissions }, secret, { expiresIn })}`;
}

it("the table has a rule for every route of the server, and for no other route", () => {
  expect([...routes].sort()).toEqual(Object.keys(RULES).sort());
});

async function revokedToken(): Promise<string> {
  const { token, tokenId } = bridge.tokens.mint({ userId: "mallory", permissions: ["admin"], ttlSeconds: 60 });
  await bridge.authority.revocations.add({ kind: "token", id: tokenId });
  return `Bearer ${token}`;
}

async function deviceSecret(): Promise<string> {
  const { devices } = bridge.authority;
  if (devices.get("east") === undefined) await devices.add({ id: "east", kind: "camera", credential: {} });
  return `Bearer ${await devices.rotate("east", {})}`;
}

describe.each(guarded)("%s", (route, sufficient) => {
  it.each<[string, () => string | undefined | Promise<string>]>([
    ["a request without credentials", () => undefined],
    ["an expired token of an admin", () => sign(["admin"], { expiresIn: -1 })],
    ["a token signed with another secret", () => sign(["admin"], { secret: "t".repeat(32) })],
    ["a revoked token", revokedToken],
    ["a device's secret", deviceSecret],
    ["an unknown authorization scheme", () => sign(["admin"]).replace("Bearer", "Token")],
  ])("rejects %s with 401", async (_, authorization) => {
    const { status, body, headers } = await call(route, await authorization());
    expect([status, body?.error.code, headers["www-authenticate"]]).toEqual([401, "unauthorized", "Bearer"]);
  });

  it("answers 403 to a token that has every permission except the required permissions", async () => {
    const { status, body } = await call(route, sign(PERMISSIONS.filter((held) => !sufficient.includes(held))));
    expect([status, body?.error.code]).toEqual([403, "permission_denied"]);
  });

  it("accepts a token with any of the sufficient permissions", async () => {
    for (const held of sufficient) expect([401, 403]).not.toContain((await call(route, sign([held]))).status);
  });
});

it("the server requires the same permissions for HEAD as for GET", async () => {
  for (const [route] of guarded.filter(([name]) => name.startsWith("GET ")))
    expect([
      (await call(route, undefined, "HEAD")).status,
      (await call(route, sign(["device:north"]), "HEAD")).status,
    ]).toEqual([401, 403]);
});

interface Place {
  path?: string;
  headers?: Record<string, string>;
}

it.each([
  ["the valid one first", (good: string) => [good, "Bearer other"]],
  ["the valid one last", (good: string) => ["Bearer other", good]],
  ["the same one twice", (good: string) => [good, good]],
])("the server rejects two Authorization headers: %s", async (_, both) => {
  const headers = both(`Bearer ${bridge.mint("admin")}`).map((value) => `Authorization: ${value}`);
  const bytes = lines("GET /cameras HTTP/1.1", "Host: x", "Connection: close", ...headers);
  expect(statusesOf(await (await rawHttp(bridge.port, bytes)).ended)).toEqual([401]);
});

it.each([
  ["the query", { path: "/cameras?token=TOKEN&access_token=TOKEN&authorization=Bearer%20TOKEN" }],
  ["a cookie", { headers: { cookie: "token=TOKEN; access_token=TOKEN" } }],
  ["Basic authentication", { headers: { authorization: "Basic BASE64" } }],
  ["the name of a subprotocol", { headers: { "sec-websocket-protocol": "bearer, TOKEN" } }],
] satisfies [string, Place][])(
  "the server ignores a token in %s",
  async (_, { path = "/cameras", headers = {} }: Place) => {
    const token = bridge.mint("admin");
    const put = (text: string) =>
      text.replaceAll("TOKEN", token).replace("BASE64", Buffer.from(`token:${token}`).toString("base64"));
    const sent = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, put(value)]));
    expect((await bridge.call(put(path), { headers: sent })).status).toBe(401);
  },
);

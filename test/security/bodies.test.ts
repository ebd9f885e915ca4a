import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../bridge/support/test-bridge.ts";
import { lines, rawHttp } from "./raw-http.ts";
import { withRoutesOf } from "./routes-of.ts";

/** A valid body of each route that accepts a body. A route that is missing here fails the first test. */
const BODIES: Record<string, Record<string, unknown>> = {
  "POST /auth/token": { user_id: "alice", permissions: ["a:read"], expires_in: 60 },
  "POST /auth/login": { user_id: "alice", password: "a mountain at dawn" },
  "POST /auth/refresh": { refresh_token: "x" },
  "POST /auth/logout": { refresh_token: "x" },
  "POST /auth/password": { current_password: "a mountain at dawn", password: "a mountain at dusk" },
  "POST /auth/revoke": { user_id: "alice", issued_before: "2026-01-01T00:00:00Z", token_id: "a", session_id: "a" },
  "POST /users": { user_id: "alice", password: "a mountain at dawn", role: "viewer", permissions: ["a:read"] },
  "PUT /users/:id": { password: "a mountain at dawn", role: "viewer", permissions: ["a:read"], enabled: true },
  "POST /devices": { id: "north", kind: "camera", secret: "x".repeat(32), certificate_name: "north" },
  "POST /devices/:id/rotate": { secret: "x".repeat(32), certificate_name: "north" },
  "POST /integrations": { id: "grafana", role: "viewer", permissions: ["a:read"] },
  "PUT /integrations/:id": { role: "viewer", permissions: ["a:read"] },
  "POST /integrations/:id/rotate": { overlap_seconds: 60 },
  "POST /broadcast": { event: "a.b", channel: "dashboard" },
  "POST /clock/accept": { time_passed: true },
  "PUT /log-level": { level: "info" },
  "POST /setup/admin": { code: "wrong", user_id: "alice", password: "a mountain at dawn" },
  "POST /camera-groups": { id: "ridge", name: "Ridge", cameras: ["north"] },
  "PUT /camera-groups/:id": { name: "Ridge", cameras: ["north"] },
  "PUT /cameras/:id": { name: "Ridge", notes: "By the lake", location: { lat: 46, lon: 8 }, tags: ["lake"] },
  "PUT /cameras/:id/schedule": { entries: [{ kind: "clock", start: "06:00", end: "09:00", interval_s: 30 }] },
  "PUT /cameras/:id/settings": { iso: 100 },
  "POST /cameras/:id/alerts/:name/mute": { minutes: 5 },
  "POST /processing/:id/alerts/:name/mute": { minutes: 5 },
  "POST /cameras/:id/commands": { name: "capture.now", args: {}, expires_in: 30 },
};
/** The routes that accept a body without a token. */
const UNAUTHENTICATED = ["POST /auth/login", "POST /auth/refresh", "POST /auth/logout", "POST /setup/admin"];
/** In these routes, null resets a field. */
const WITH_NULL = ["PUT /cameras/:id", "PUT /cameras/:id/settings"];
/** These routes answer by their path and cookies only. `/socket.io/` answers every request with the same refusal. */
const WITHOUT_BODY = / \/socket\.io\/|\/films\/:film\/link$|\/acknowledge$|\/auth\/oidc\/session$/;
/** Wrong values of every JSON type. */
const WRONG = [
  "null",
  "7",
  "1e400",
  "-0.5",
  '"text"',
  "true",
  "[]",
  "[[]]",
  '{"__proto__":{"length":3}}',
  '{"toString":"x"}',
];
let bridge: TestBridge;
let routes: ReadonlySet<string>;

beforeAll(async () => {
  const env = {
    ...{
      MAX_REQUESTS_PER_MINUTE: "0",
      MAX_REQUESTS_PER_SECOND: "0",
      MAX_TOKEN_REQUESTS_PER_MINUTE: "0",
      MAX_COMMANDS_PER_MINUTE: "0",
    },
    ...{ MAX_BROADCASTS_PER_MINUTE: "0", MAX_LOGIN_FAILURES: "0" },
  };
  [bridge, routes] = await withRoutesOf(() => startTestBridge({ env }));
});
afterAll(() => bridge.stop());

const every = Object.entries(BODIES);
function send(route: string, body: unknown, id = "north") {
  const [method = "", path = ""] = route.split(" ");
  return bridge.call(path.replace(":id", encodeURIComponent(id)).replace(":name", "disk"), {
    method,
    body,
    token: OPERATOR_KEY,
  });
}
/** Everything that a rejected body could have changed. */
async function traces() {
  const { entries } = await bridge.journal.replay({ channels: ["dashboard"], after: 0 });
  return {
    broadcasts: entries.filter(({ topic }) => topic.includes("/channels/")).length,
    commands: bridge.link.publications.filter(({ topic }) => topic.includes("/commands/")).length,
    accounts: bridge.authority.accounts.list(),
    devices: bridge.authority.devices.list(),
  };
}

it("the table has a body for every route that accepts a body", () => {
  const withBody = [...routes].filter((route) => /^(?:POST|PUT|PATCH) /.test(route) && !WITHOUT_BODY.test(route));
  expect(withBody.sort()).toEqual(Object.keys(BODIES).sort());
});

describe.each(every)("%s", (route, good) => {
  it.each(Object.keys(good))("rejects wrong values of %s", async (field) => {
    const before = await traces();
    for (const wrong of WRONG) {
      if (isRight(good[field], wrong) || (wrong === "null" && WITH_NULL.includes(route))) continue;
      const text = JSON.stringify({ ...good, [field]: "@" }).replace('"@"', wrong);
      const { status, body } = await send(route, text);
      expect([wrong, status, body?.error.code]).toEqual([wrong, 400, "bad_request"]);
    }
    expect(await traces()).toEqual(before);
  });

  it.each<[string, string, number]>([
    ["arrays nested 200,000 levels deep", "[".repeat(200_000), UNAUTHENTICATED.includes(route) ? 413 : 400],
    ["arrays nested 15,000 levels deep", "[".repeat(15_000), 400],
    ["JSON nested 33 levels deep", `{"a":${"[".repeat(33)}${"]".repeat(33)}}`, 400],
    ["a body larger than MAX_PAYLOAD_BYTES", JSON.stringify({ ...good, more: "x".repeat(262_144) }), 413],
    ["half a body", JSON.stringify(good).slice(0, -1), 400],
    ["two bodies in a row", JSON.stringify(good).repeat(2), 400],
    ["a list that contains the body", JSON.stringify([good]), 400],
    ["the body as a JSON string", JSON.stringify(JSON.stringify(good)), 400],
    ["an object that inherits the body", JSON.stringify(good).replace(/.*/, (text) => `{"__proto__":${text}}`), 400],
    ["text that is not JSON", "user_id=alice&permissions=admin", 400],
  ])("rejects %s", async (_, text, expected) => {
    const before = await traces();
    const { status, body } = await send(route, text);
    expect([status, body?.error.code]).toEqual([expected, expected === 413 ? "payload_too_large" : "bad_request"]);
    expect(await traces()).toEqual(before);
  });

  it("pollutes no prototype", async () => {
    const polluting = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}';
    for (const field of Object.keys(good))
      await send(route, JSON.stringify({ ...good, [field]: "@" }).replace('"@"', polluting));
    await send(route, JSON.stringify(good).replace("{", '{"__proto__":{"admin":true,"polluted":1},'));
    expect({}).not.toHaveProperty("polluted");
    expect({}).not.toHaveProperty("admin");
  });
});

describe("the limit on bodies before authentication", () => {
  const sendHead = (route: string, ...headers: string[]) =>
    rawHttp(bridge.port, lines(`${route.replace(":id", "north")} HTTP/1.1`, "Host: sky.example.org", ...headers));
  const authorization = `Authorization: Bearer ${OPERATOR_KEY}`;

  it.each([...Object.keys(BODIES), "DELETE /users/:id", "POST /nowhere"])(
    "rejects a large body after its headers: %s",
    async (route) => {
      const refusal = UNAUTHENTICATED.includes(route) ? 413 : 401;
      const answers = [await sendHead(route, "Content-Length: 200000")];
      // A login route answers only after it has read the chunks, so this step leaves login routes out.
      if (!UNAUTHENTICATED.includes(route)) answers.push(await sendHead(route, "Transfer-Encoding: chunked"));
      for (const { received } of answers) await expect.poll(received).toMatch(`HTTP/1.1 ${refusal} `);
    },
  );

  it("does not apply to an authenticated request", async () => {
    const data = "x".repeat(200_000);
    expect((await send("POST /broadcast", JSON.stringify({ event: "a.b", data }))).status).toBe(200);
  });

  it("allows a login with the longest possible password, with a Content-Length or in chunks", async () => {
    const body = JSON.stringify({ user_id: "🏔".repeat(64), password: "é".repeat(1024) });
    const text = body.replace(/[^ -~]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
    for (const head of [`Content-Length: ${text.length}`, "Transfer-Encoding: chunked"]) {
      const { socket, received } = await sendHead("POST /auth/login", head);
      const isWhole = head.startsWith("C");
      socket.write(isWhole ? text : `${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`);
      await expect.poll(received).toMatch("HTTP/1.1 401 ");
    }
  });

  it("does not apply to an authenticated request with a chunked body", async () => {
    const { socket, received } = await sendHead("POST /broadcast", authorization, "Transfer-Encoding: chunked");
    const text = JSON.stringify({ event: "a.b" });
    socket.write(`${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`);
    await expect.poll(received).toMatch("HTTP/1.1 200 ");
  });
});

/** Whether the field accepts the value, because it has the field's type or another accepted type. */
function isRight(good: unknown, wrong: string): boolean {
  const value: unknown = JSON.parse(wrong);
  if (Array.isArray(good)) return wrong === "[]";
  if (typeof good === "object") return typeof value === "object" && value !== null && !Array.isArray(value);
  return typeof value === typeof good && (typeof value !== "number" || value === 7);
}

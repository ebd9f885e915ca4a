import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../bridge/support/test-bridge.ts";
import { withRoutesOf } from "./routes-of.ts";

/** What each route takes in its body: a route that takes one and is not here fails the first test. */
const BODIES: Record<string, Record<string, unknown>> = {
  "POST /auth/token": { user_id: "alice", permissions: ["a:read"], expires_in: 60 },
  "POST /auth/login": { user_id: "alice", password: "a mountain at dawn" },
  "POST /auth/refresh": { refresh_token: "x" },
  "POST /auth/logout": { refresh_token: "x" },
  "POST /auth/revoke": { user_id: "alice", issued_before: "2026-01-01T00:00:00Z", token_id: "a", session_id: "a" },
  "POST /users": { user_id: "alice", password: "a mountain at dawn", role: "viewer", permissions: ["a:read"] },
  "PUT /users/:id": { password: "a mountain at dawn", role: "viewer", permissions: ["a:read"], enabled: true },
  "POST /devices": { id: "north", kind: "camera", secret: "x".repeat(32), certificate_name: "north" },
  "POST /devices/:id/rotate": { secret: "x".repeat(32), certificate_name: "north" },
  "POST /broadcast": { event: "a.b", channel: "dashboard" },
  "POST /cameras/:id/commands": { name: "capture.now", args: {}, expires_in: 30 },
};
/** Of each kind there is, as it stands in JSON. */
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
    ...{ MAX_REQUESTS_PER_MINUTE: "0", MAX_TOKEN_REQUESTS_PER_MINUTE: "0", MAX_COMMANDS_PER_MINUTE: "0" },
    ...{ MAX_BROADCASTS_PER_MINUTE: "0", MAX_LOGIN_FAILURES: "0" },
  };
  [bridge, routes] = await withRoutesOf(() => startTestBridge({ env }));
});
afterAll(() => bridge.stop());

const every = Object.entries(BODIES);
function send(route: string, body: unknown, id = "north") {
  const [method = "", path = ""] = route.split(" ");
  return bridge.call(path.replace(":id", encodeURIComponent(id)), { method, body, token: OPERATOR_KEY });
}
/** What a refused body could have changed. */
async function traces() {
  const { entries } = await bridge.journal.replay({ channels: ["dashboard"], after: 0 });
  return {
    broadcasts: entries.filter(({ topic }) => topic.includes("/channels/")).length,
    commands: bridge.link.publications.filter(({ topic }) => topic.includes("/commands/")).length,
    accounts: bridge.authority.accounts.list(),
    devices: bridge.authority.devices.list(),
  };
}

it("every route with a body is tried here", () => {
  const withBody = [...routes].filter((route) => /^(?:POST|PUT|PATCH) /.test(route));
  expect(withBody.sort()).toEqual(Object.keys(BODIES).sort());
});

describe.each(every)("%s", (route, good) => {
  it.each(Object.keys(good))("takes nothing of the wrong kind as %s", async (field) => {
    const before = await traces();
    for (const wrong of WRONG) {
      if (isRight(good[field], wrong)) continue;
      const text = JSON.stringify({ ...good, [field]: "@" }).replace('"@"', wrong);
      const { status, body } = await send(route, text);
      expect([wrong, status, body?.error.code]).toEqual([wrong, 400, "bad_request"]);
    }
    expect(await traces()).toEqual(before);
  });

  it.each<[string, string, number]>([
    ["what nests 200,000 levels deep", "[".repeat(200_000), 400],
    ["what nests 33 levels deep", `{"a":${"[".repeat(33)}${"]".repeat(33)}}`, 400],
    ["what is larger than MAX_PAYLOAD_BYTES", JSON.stringify({ ...good, more: "x".repeat(262_144) }), 413],
    ["half of it", JSON.stringify(good).slice(0, -1), 400],
    ["two of it", JSON.stringify(good).repeat(2), 400],
    ["a list of it", JSON.stringify([good]), 400],
    ["a text of it", JSON.stringify(JSON.stringify(good)), 400],
    ["what inherits it", JSON.stringify(good).replace(/.*/, (text) => `{"__proto__":${text}}`), 400],
    ["what is no JSON", "user_id=alice&permissions=admin", 400],
    ["what begins with a mark of its order of bytes", `\ufeff${JSON.stringify(good)}`, 400],
  ])("refuses %s", async (_, text, expected) => {
    const before = await traces();
    const { status, body } = await send(route, text);
    expect([status, body?.error.code]).toEqual([expected, expected === 413 ? "payload_too_large" : "bad_request"]);
    expect(await traces()).toEqual(before);
  });

  it("changes no object of the program", async () => {
    const polluting = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}';
    for (const field of Object.keys(good))
      await send(route, JSON.stringify({ ...good, [field]: "@" }).replace('"@"', polluting));
    await send(route, JSON.stringify(good).replace("{", '{"__proto__":{"admin":true,"polluted":1},'));
    expect({}).not.toHaveProperty("polluted");
    expect({}).not.toHaveProperty("admin");
  });
});

/** Whether it is of the kind that the field has, or of one that it takes as well. */
function isRight(good: unknown, wrong: string): boolean {
  const value: unknown = JSON.parse(wrong);
  if (Array.isArray(good)) return wrong === "[]";
  if (typeof good === "object") return typeof value === "object" && value !== null && !Array.isArray(value);
  return typeof value === typeof good && (typeof value !== "number" || value === 7);
}

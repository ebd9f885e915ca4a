import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";

const run = promisify(execFile);
const BODY = { user_id: "mountain_operator", permissions: ["dashboard:read", "camera:control"] };
let bridge: TestBridge;

beforeAll(async () => {
  bridge = await startTestBridge({ env: { MAX_TOKEN_REQUESTS_PER_MINUTE: "0" } });
});
afterAll(() => bridge.stop());

const mint = (more: object = {}) => bridge.call("/auth/token", { method: "POST", body: BODY, ...more });

describe("POST /auth/token on this machine", () => {
  it("works with the predecessor's documented curl call, which declares no JSON content type", async () => {
    const url = `http://localhost:${bridge.port}/auth/token`;
    const { stdout } = await run("curl", ["-s", "-X", "POST", url, "-d", JSON.stringify(BODY)]);
    const { token, ...rest } = JSON.parse(stdout);
    expect(rest).toEqual({ user_id: "mountain_operator", expires_in: 900 });
    expect(bridge.tokens.verify(token)).toMatchObject({ userId: BODY.user_id, permissions: BODY.permissions });
  });

  it.each(["application/json", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"])(
    "reads the body as JSON with the Content-Type %s",
    async (type) => {
      expect((await mint({ headers: { "content-type": type } })).status).toBe(200);
    },
  );

  it("refuses a lifetime of more than 15 minutes and names the limit", async () => {
    const answer = await mint({ body: { ...BODY, expires_in: 901 } });
    expect(answer.status).toBe(400);
    expect(answer.body.error).toMatchObject({
      message: "`expires_in` must be at most 900, not 901: a token that is minted without a key lives no longer",
      details: [{ field: "expires_in" }],
    });
  });

  it("mints a token with the requested lifetime", async () => {
    const { token, expires_in } = (await mint({ body: { ...BODY, expires_in: 60 } })).body;
    const { issuedAt, expiresAt } = bridge.tokens.verify(token);
    expect([expires_in, (expiresAt ?? 0) - issuedAt]).toEqual([60, 60_000]);
  });

  it.each<[string, Record<string, string>]>([
    ["a page of another site", { origin: "https://evil.example.org" }],
    ["a page of another port", { origin: "http://localhost:5173" }],
    ["a sandboxed page", { origin: "null" }],
    ["a name that resolves to this machine", { host: "evil.example.org" }],
    ["a name that looks like this machine", { host: "localhost.example.org:8082" }],
    ["a request through a proxy", { "x-forwarded-for": "203.0.113.7" }],
    ["a request through a proxy that forwards the name", { "x-forwarded-host": "localhost" }],
    ["a request through a proxy of RFC 7239", { forwarded: "for=203.0.113.7" }],
  ])("refuses %s", async (_name, headers) => {
    const { status, headers: said, body } = await mint({ headers });
    expect([status, body.error.code, said["www-authenticate"]]).toEqual([401, "unauthorized", "Bearer"]);
  });

  it.each(["localhost", "127.0.0.1:8082", "[::1]:8082", "LOCALHOST"])("accepts the host name %s", async (host) => {
    expect((await mint({ headers: { host } })).status).toBe(200);
  });

  it("accepts requests of the server's own page", async () => {
    const host = `localhost:${bridge.port}`;
    expect((await mint({ headers: { host, origin: `http://${host}` } })).status).toBe(200);
  });

  it("refuses wrong credentials", async () => {
    expect((await mint({ token: "wrong-operator-key-of-the-tests" })).status).toBe(401);
    expect((await mint({ headers: { authorization: OPERATOR_KEY } })).status).toBe(401);
  });

  it.each<[string, unknown]>([
    ["no user", { permissions: [] }],
    ["an empty user", { ...BODY, user_id: "" }],
    ["a user of 129 characters", { ...BODY, user_id: "a".repeat(129) }],
    ["a user with a line break", { ...BODY, user_id: "a\nb" }],
    ["a user that is a number", { ...BODY, user_id: 7 }],
    ["no permissions", { user_id: "alice" }],
    ["101 permissions", { ...BODY, permissions: Array(101).fill("a:read") }],
    ["permissions that no token could hold", { ...BODY, permissions: Array(100).fill("x".repeat(100)) }],
    ["a permission that is no string", { ...BODY, permissions: [7] }],
    ["a lifetime of 0 seconds", { ...BODY, expires_in: 0 }],
    ["no body", undefined],
    ["a list", []],
  ])("refuses %s and names the field", async (_name, body) => {
    const answer = await mint({ body });
    expect(answer.status).toBe(400);
    expect(answer.body.error).toMatchObject({ code: "bad_request", details: [{ field: expect.any(String) }] });
  });

  it("refuses invalid JSON and JSON that nests too deep", async () => {
    expect((await mint({ body: "{" })).body.error).toEqual({
      code: "bad_request",
      message: "The body is not valid JSON",
    });
    expect((await mint({ body: "[".repeat(40) + "]".repeat(40) })).body.error.message).toContain("deeper than 32");
  });
});

describe("POST /auth/token with the operator key", () => {
  it("mints tokens with the predecessor's lifetime, also through a proxy", async () => {
    const answer = await mint({ token: OPERATOR_KEY, headers: { "x-forwarded-for": "203.0.113.7" } });
    expect(answer).toMatchObject({ status: 200, body: { user_id: BODY.user_id, expires_in: 86_400 } });
  });

  it("refuses a lifetime of more than TOKEN_TTL_SECONDS and names the limit", async () => {
    const answer = await mint({ token: OPERATOR_KEY, body: { ...BODY, expires_in: 86_401 } });
    expect([answer.status, answer.body.error.message]).toEqual([
      400,
      "`expires_in` must be at most 86400, not 86401: TOKEN_TTL_SECONDS allows no more",
    ]);
  });

  it.each<[string, string]>([
    ["dashboard:red", 'there is no permission "dashboard:red": did you mean "dashboard:read"?'],
    ["camera:north:raed", 'there is no permission "camera:north:raed": did you mean "camera:north:read"?'],
    ["camera:North:read", 'there is no permission "camera:North:read": did you mean'],
    ["Admin", 'there is no permission "Admin": did you mean "admin"?'],
    ["alerts:read\u200b", 'there is no permission "alerts:read\\u200b": did you mean "alerts:read"?'],
    ["grafana", 'there is no permission "grafana": permissions are admin, dashboard:read, '],
  ])("refuses the unknown permission %j and names the permission that was probably meant", async (permission, said) => {
    const answer = await mint({ token: OPERATOR_KEY, body: { ...BODY, permissions: ["jobs:read", permission] } });
    expect(answer.status).toBe(400);
    expect(answer.body.error.message).toContain(said);
    expect(answer.body.error.details).toEqual([{ field: "permissions.1", message: expect.stringContaining(said) }]);
  });

  it("accepts the permission of a channel of CHANNELS_FILE", async () => {
    const folder = await mkdtemp(join(tmpdir(), "channels-"));
    const file = join(folder, "channels.json");
    await writeFile(file, '{"valley":{"filters":["skylapse/v1/cameras/valley-1/#"],"permission":"valley:read"}}');
    const own = await startTestBridge({ env: { CHANNELS_FILE: file } });
    try {
      const ask = (permission: string) =>
        own.call("/auth/token", { method: "POST", token: OPERATOR_KEY, body: { ...BODY, permissions: [permission] } });
      expect((await ask("valley:read")).status).toBe(200);
      expect((await ask("valley:reed")).body.error.message).toContain('did you mean "valley:read"?');
    } finally {
      await own.stop();
      await rm(folder, { recursive: true });
    }
  });

  it("refuses a token, whatever its permissions", async () => {
    expect((await mint({ token: bridge.mint("admin") })).status).toBe(403);
  });
});

describe("POST /auth/token of a server that others can reach", () => {
  it("needs the operator key, also from this machine", async () => {
    const reachable = await startTestBridge({ env: { HOST: "0.0.0.0" } });
    try {
      const call = (more: object) => reachable.call("/auth/token", { method: "POST", body: BODY, ...more });
      expect((await call({})).status).toBe(401);
      expect((await call({ token: OPERATOR_KEY })).status).toBe(200);
      expect((await reachable.call("/stats")).status).toBe(401);
      expect((await reachable.call("/broadcast", { method: "POST", body: { event: "a" } })).status).toBe(401);
    } finally {
      await reachable.stop();
    }
  });
});

describe("MAX_TOKEN_REQUESTS_PER_MINUTE", () => {
  it("limits guesses of the operator key, but no other route", async () => {
    const limited = await startTestBridge({ env: { MAX_TOKEN_REQUESTS_PER_MINUTE: "3" } });
    try {
      const guess = () => limited.call("/auth/token", { method: "POST", body: BODY, token: "guess" });
      const statuses = [];
      for (let count = 0; count < 4; count++) statuses.push((await guess()).status);
      expect(statuses).toEqual([401, 401, 401, 429]);
      expect((await guess()).body.error.code).toBe("rate_limited");
      expect((await limited.call("/health")).status).toBe(200);
    } finally {
      await limited.stop();
    }
  });
});

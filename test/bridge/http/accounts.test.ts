import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH } from "../../../bridge/auth/passwords.ts";
import { auditText } from "../../support/audit.ts";
import { makeDataPath, removeDataPath } from "../../support/skylapse.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";
import { connect } from "../websocket/client.ts";

const PASSWORD = "a mountain at dawn";
let bridge: TestBridge;
let dataPath: string;

const start = async (env: Record<string, string> = {}) => {
  const limits = { MAX_TOKEN_REQUESTS_PER_MINUTE: "0", MAX_LOGIN_FAILURES: "3" };
  bridge = await startTestBridge({ env: { ...limits, ...env }, dataPath });
};
const restart = async (env: Record<string, string>) => {
  await bridge.stop();
  await start(env);
};
beforeEach(async () => {
  dataPath = makeDataPath();
  await start();
});
afterEach(async () => {
  await bridge.stop();
  removeDataPath(dataPath);
});

const post = (path: string, body: object, token?: string) =>
  bridge.call(path, { method: "POST", body, ...(token === undefined ? {} : { token }) });
const create = (more: object = { role: "viewer" }, user_id = "alice") =>
  post("/users", { user_id, password: PASSWORD, ...more }, OPERATOR_KEY);
const login = (password = PASSWORD, user_id = "alice") => post("/auth/login", { user_id, password });
const refresh = (refresh_token: string) => post("/auth/refresh", { refresh_token });
const change = (body: object, id = "alice") =>
  bridge.call(`/users/${encodeURIComponent(id)}`, { method: "PUT", body, token: OPERATOR_KEY });
const socket = (token: string) => connect(`ws://127.0.0.1:${bridge.port}/ws`, token);
const audited = async () =>
  auditText(bridge.dataPath)
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

describe("POST /auth/login", () => {
  it("returns an access token of 15 minutes with the permissions of the role, and a refresh token of 7 days", async () => {
    expect((await create()).status).toBe(201);
    const { status, body } = await login();
    expect([status, body.user_id, body.expires_in, body.refresh_expires_in]).toEqual([200, "alice", 900, 604_800]);
    expect(body.permissions).toContain("dashboard:read");
    expect(bridge.authority.verify(body.token)).toMatchObject({ userId: "alice", permissions: body.permissions });
    expect((await bridge.call("/cameras", { token: body.token })).status).toBe(200);
  });

  it("gives the same response for a wrong password, an unknown user and a disabled user", async () => {
    await create();
    await create({ role: "admin" }, "bob");
    await change({ enabled: false }, "bob");
    const answers = [await login("not the password"), await login(PASSWORD, "nobody"), await login(PASSWORD, "bob")];
    expect(answers.map(({ status }) => status)).toEqual([401, 401, 401]);
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
  });

  it("takes equally long for unknown and known users", async () => {
    await create();
    const timed = async (user: string) => {
      const from = performance.now();
      await bridge.authority.accounts.verify(user, "not the password");
      return performance.now() - from;
    };
    const times: { nobody: number[]; alice: number[] } = { nobody: [], alice: [] };
    // The two users take turns, so that other load on the machine slows down both.
    for (let turn = 0; turn < 5; turn++) {
      times.nobody.push(await timed("nobody"));
      times.alice.push(await timed("alice"));
    }
    expect(Math.min(...times.nobody)).toBeGreaterThan(Math.min(...times.alice) / 3);
  });

  it("refuses even the right password after MAX_LOGIN_FAILURES and says when to retry", async () => {
    await create();
    await create({ role: "viewer" }, "bob");
    for (let failure = 0; failure < 3; failure++) expect((await login("not the password")).status).toBe(401);
    const { status, headers, body } = await login();
    expect([status, body.error.code]).toEqual([429, "too_many_failures"]);
    expect(Number(headers["retry-after"])).toBeGreaterThan(800);
    expect((await login(PASSWORD, "bob")).status).toBe(200);
  });

  describe("from an address shared with attackers, as behind a proxy that is not in TRUSTED_PROXIES", () => {
    const strangers = async (count: number) => {
      for (let index = 0; index < count; index++) await login("not the password", `nobody-${index}`);
    };

    it("accepts users who have not tried yet", async () => {
      await create();
      await strangers(11);
      expect((await login()).status).toBe(200);
    });

    it("delays users who have never logged in from there, after MAX_LOGIN_FAILURES_PER_ADDRESS failures", async () => {
      await create();
      await restart({ MAX_LOGIN_FAILURES_PER_ADDRESS: "4" });
      await strangers(4);
      const { status, body } = await login();
      expect([status, body.error.code]).toEqual([429, "too_many_failures"]);
    });

    it("never delays users who have logged in or refreshed a login from there", async () => {
      await create();
      await restart({ MAX_LOGIN_FAILURES_PER_ADDRESS: "4" });
      const { refresh_token } = (await login()).body;
      await strangers(4);
      expect((await login()).status).toBe(200);
      await restart({ MAX_LOGIN_FAILURES_PER_ADDRESS: "4" });
      expect((await refresh(refresh_token)).status).toBe(200);
      await strangers(4);
      expect((await login()).status).toBe(200);
      expect((await login(PASSWORD, "nobody")).status).toBe(429);
    });
  });

  it("includes simultaneous failures in the limit", async () => {
    await create();
    const answers = await Promise.all(Array.from({ length: 8 }, () => login("not the password")));
    expect(answers.filter(({ status }) => status === 401)).toHaveLength(3);
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(5);
  });

  it("resets a user's failures after the right password", async () => {
    await create();
    for (let round = 0; round < 2; round++) {
      await login("not the password");
      expect((await login()).status).toBe(200);
    }
  });
});

describe("POST /auth/refresh", () => {
  it("returns new tokens and keeps the previous access token valid", async () => {
    await create();
    const first = (await login()).body;
    const { status, body } = await refresh(first.refresh_token);
    expect(status).toBe(200);
    expect(body.refresh_token).not.toBe(first.refresh_token);
    for (const { token } of [first, body]) expect(bridge.authority.verify(token).userId).toBe("alice");
    expect((await refresh(body.refresh_token)).status).toBe(200);
  });

  it("returns the same tokens for a repeated refresh token, as when two pages send it at once or a response is lost", async () => {
    await create();
    const { refresh_token } = (await login()).body;
    const answers = await Promise.all([refresh(refresh_token), refresh(refresh_token), refresh(refresh_token)]);
    answers.push(await refresh(refresh_token));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    const next = new Set(answers.map(({ body }) => body.refresh_token));
    expect(next.size).toBe(1);
    for (const { body } of answers) expect(bridge.authority.verify(body.token).userId).toBe("alice");
    expect((await refresh([...next][0])).status).toBe(200);
  });

  it("ends the session when an older refresh token is reused", async () => {
    await create();
    const first = (await login()).body;
    const second = (await refresh(first.refresh_token)).body;
    const third = (await refresh(second.refresh_token)).body;
    const client = await socket(third.token);
    const { status, body } = await refresh(first.refresh_token);
    expect([status, body.error.code]).toEqual([401, "unauthorized"]);
    expect((await client.closed).code).toBe(4005);
    expect((await refresh(third.refresh_token)).status).toBe(401);
    expect((await bridge.call("/cameras", { token: third.token })).status).toBe(401);
    expect(await audited()).toContainEqual(expect.objectContaining({ action: "refresh", outcome: "reused" }));
  });

  it.each(["", "nonsense", `${"0".repeat(12)}-${"0".repeat(24)}.${"A".repeat(43)}`, "x".repeat(257)])(
    "refuses the refresh token %j",
    async (token) => expect([400, 401]).toContain((await refresh(token)).status),
  );
});

describe("POST /auth/logout", () => {
  it("ends the session and its sockets, but no other session of the user", async () => {
    await create();
    const [here, elsewhere] = [(await login()).body, (await login()).body];
    const clients = [await socket(here.token), await socket(elsewhere.token)];
    expect((await post("/auth/logout", { refresh_token: here.refresh_token })).status).toBe(204);
    expect((await clients[0]?.closed)?.code).toBe(4005);
    expect((await refresh(here.refresh_token)).status).toBe(401);
    expect((await refresh(elsewhere.refresh_token)).status).toBe(200);
    expect(clients[1]?.ws.readyState).toBe(1);
    expect((await post("/auth/logout", { refresh_token: here.refresh_token })).status).toBe(204);
  });
});

describe("POST /auth/revoke", () => {
  it("revokes one token by its id", async () => {
    const [one, other] = [bridge.mint("dashboard:read"), bridge.mint("dashboard:read")];
    const clients = [await socket(one), await socket(other)];
    const { tokenId } = bridge.tokens.verify(one);
    expect((await post("/auth/revoke", { token_id: tokenId }, OPERATOR_KEY)).status).toBe(204);
    expect((await clients[0]?.closed)?.code).toBe(4005);
    expect(clients[1]?.ws.readyState).toBe(1);
    expect((await bridge.call("/cameras", { token: one })).status).toBe(401);
  });

  it("revokes one login by its id, its refresh token included", async () => {
    await create();
    const { token, refresh_token } = (await login()).body;
    const { sessionId = "" } = bridge.authority.verify(token);
    expect(await bridge.cluster.documents.get("refresh", sessionId)).toBeDefined();
    expect((await post("/auth/revoke", { session_id: sessionId }, OPERATOR_KEY)).status).toBe(204);
    expect(() => bridge.authority.verify(token)).toThrow("revoked");
    expect(await bridge.cluster.documents.get("refresh", sessionId)).toBeUndefined();
    expect((await refresh(refresh_token)).status).toBe(401);
  });

  it("revokes all tokens of a user, but no token that is minted right afterwards", async () => {
    await create();
    const { token, refresh_token } = (await login()).body;
    const minted = bridge.mint("dashboard:read");
    expect((await post("/auth/revoke", { user_id: "alice" }, OPERATOR_KEY)).status).toBe(204);
    const next = bridge.mint("dashboard:read");
    for (const gone of [token, minted]) expect(() => bridge.authority.verify(gone)).toThrow("revoked");
    expect(bridge.authority.verify(next).userId).toBe("alice");
    expect((await refresh(refresh_token)).status).toBe(401);
    expect((await login()).status).toBe(200);
  });

  it("revokes the tokens of all users that were issued before a time", async () => {
    const token = bridge.mint("dashboard:read");
    const before = new Date(Date.now() - 3_600_000).toISOString();
    await post("/auth/revoke", { issued_before: before }, OPERATOR_KEY);
    expect(bridge.authority.verify(token).userId).toBe("alice");
    await post("/auth/revoke", { issued_before: new Date(Date.now() + 1_000).toISOString() }, OPERATOR_KEY);
    expect(() => bridge.authority.verify(token)).toThrow("revoked");
  });

  it.each<[string, object]>([
    ["nothing", {}],
    ["two things", { token_id: "a", user_id: "alice" }],
    ["a time in the future", { issued_before: "2999-01-01T00:00:00Z" }],
    ["a time beside a token", { token_id: "a", issued_before: "2026-01-01T00:00:00Z" }],
    ["an unknown field", { userid: "alice" }],
    ["a malformed session id", { session_id: "../x" }],
  ])("refuses a body that names %s", async (_name, body) => {
    expect((await post("/auth/revoke", body, OPERATOR_KEY)).status).toBe(400);
  });

  it("needs an admin", async () => {
    expect((await post("/auth/revoke", { user_id: "bob" }, bridge.mint("dashboard:read"))).status).toBe(403);
    expect((await post("/auth/revoke", { user_id: "bob" })).status).toBe(401);
  });
});

describe("/users", () => {
  it("lists, adds, changes and removes accounts, and never returns anything about a password", async () => {
    const added = await create({ permissions: ["camera:north:read"] });
    expect(added.body).toMatchObject({ user_id: "alice", permissions: ["camera:north:read"], enabled: true });
    expect((await create()).body.error.code).toBe("user_exists");
    const changed = await change({ role: "admin" });
    expect(changed.body).toMatchObject({ role: "admin", permissions: ["admin"] });
    const listed = await bridge.call("/users", { token: OPERATOR_KEY });
    expect(listed.body.users).toHaveLength(1);
    for (const { text } of [added, changed, listed]) expect(text).not.toMatch(/hash|salt|scrypt|generation|mountain/);
    const remove = () => bridge.call("/users/alice", { method: "DELETE", token: OPERATOR_KEY });
    expect([(await remove()).status, (await remove()).status, (await change({ role: "viewer" })).status]).toEqual([
      204, 404, 404,
    ]);
    expect((await login()).status).toBe(401);
  });

  it.each<[string, object]>([
    ["a short password", { role: "viewer", password: "x".repeat(MIN_PASSWORD_LENGTH - 1) }],
    ["a long password", { role: "viewer", password: "x".repeat(MAX_PASSWORD_LENGTH + 1) }],
    ["neither role nor permissions", {}],
    ["both role and permissions", { role: "viewer", permissions: [] }],
    ["permissions that no token could hold", { permissions: Array(100).fill("y".repeat(100)) }],
    ["an unknown role", { role: "root" }],
    ["a name with a line break", { role: "viewer", user_id: "a\nb" }],
    ["an unknown field", { role: "viewer", admin: true }],
  ])("refuses %s", async (_name, body) => {
    const { status, text } = await create(body);
    expect(status).toBe(400);
    expect(text).not.toContain("xxxxxxxxx");
  });

  it("needs an admin or the operator key", async () => {
    const viewer = bridge.mint("dashboard:read", "system:read");
    for (const token of [viewer, undefined]) {
      const credentials = token === undefined ? {} : { token };
      const status = token === undefined ? 401 : 403;
      expect((await bridge.call("/users", credentials)).status).toBe(status);
      expect((await post("/users", { user_id: "eve", password: PASSWORD, role: "admin" }, token)).status).toBe(status);
    }
    expect((await bridge.call("/users", { token: bridge.mint("admin") })).status).toBe(200);
  });

  it("accepts a user id of 128 characters of any script", async () => {
    const id = "山".repeat(128);
    await create({ role: "viewer" }, id);
    expect((await change({ role: "admin" }, id)).status).toBe(200);
  });

  it("applies changes to open connections: reports lost channels and keeps the socket open", async () => {
    await create({ permissions: ["dashboard:read", "alerts:read"] });
    const { token, refresh_token } = (await login()).body;
    const client = await socket(token);
    for (const channel of ["dashboard", "alerts"]) await client.subscribe(channel);
    await change({ permissions: ["alerts:read", "jobs:read"] });
    expect(await client.next("auth_success")).toMatchObject({ permissions: ["alerts:read", "jobs:read"] });
    expect(await client.next("unsubscription_result")).toMatchObject({
      channel: "dashboard",
      success: true,
      code: 103,
    });
    expect((await client.subscribe("jobs")).success).toBe(true);
    expect(bridge.authority.verify(token).permissions).toEqual(["alerts:read", "jobs:read"]);
    expect((await refresh(refresh_token)).body.permissions).toEqual(["alerts:read", "jobs:read"]);
  });

  it.each<[string, () => Promise<unknown>]>([
    ["a new password", () => change({ password: "another mountain" })],
    ["being disabled", () => change({ enabled: false })],
    ["being removed", () => bridge.call("/users/alice", { method: "DELETE", token: OPERATOR_KEY })],
  ])("%s ends the user's sessions", async (_name, act) => {
    await create();
    const { token, refresh_token } = (await login()).body;
    const [client, minted] = [await socket(token), bridge.mint("dashboard:read")];
    await act();
    expect((await client.closed).code).toBe(4005);
    for (const gone of [token, minted]) expect(() => bridge.authority.verify(gone)).toThrow("revoked");
    expect((await refresh(refresh_token)).status).toBe(401);
  });

  it("does not accept the sessions of a removed account for a new account of the same name", async () => {
    await create({ role: "admin" });
    const { refresh_token } = (await login()).body;
    await bridge.call("/users/alice", { method: "DELETE", token: OPERATOR_KEY });
    await create();
    expect((await refresh(refresh_token)).status).toBe(401);
  });
});

describe("a restart", () => {
  it("keeps accounts, sessions and revocations", async () => {
    const dataPath = await mkdtemp(join(tmpdir(), "accounts-"));
    await bridge.stop();
    bridge = await startTestBridge({ dataPath });
    await create();
    const [kept, ended] = [(await login()).body, (await login()).body];
    await post("/auth/logout", { refresh_token: ended.refresh_token });
    await bridge.stop();
    bridge = await startTestBridge({ dataPath });
    expect(bridge.authority.verify(kept.token).userId).toBe("alice");
    expect(() => bridge.authority.verify(ended.token)).toThrow("revoked");
    expect((await refresh(kept.refresh_token)).status).toBe(200);
    expect((await login()).status).toBe(200);
    await bridge.stop();
    await rm(dataPath, { recursive: true });
  });
});

describe("the audit log", () => {
  it("records who did what from where, and never a secret", async () => {
    await create({ role: "admin" });
    const { token, refresh_token } = (await login()).body;
    await login("not the password");
    await post("/auth/logout", { refresh_token });
    await post("/auth/token", { user_id: "bob", permissions: ["dashboard:read"] }, OPERATOR_KEY);
    await post("/broadcast", { event: "weather.warning" }, OPERATOR_KEY);
    const actions = ["user.create", "login", "login", "logout", "token.mint", "broadcast"];
    const lines = await vi.waitFor(async () => {
      const found = await audited();
      expect(found.map(({ action }) => action)).toEqual(actions);
      return found;
    });
    for (const line of lines) {
      expect(Object.keys(line)).toEqual(["time", "action", "who", "address", "target", "outcome"]);
      expect([line.address, Number.isNaN(Date.parse(line.time))]).toEqual(["127.0.0.1", false]);
    }
    expect(lines.map(({ who }) => who)).toEqual([
      ...["operator", "user:alice", "user:alice", "user:alice", "operator", "operator"],
    ]);
    expect(lines[2].outcome).toBe("unauthorized");
    const text = auditText(bridge.dataPath);
    for (const secret of [PASSWORD, "not the password", token, refresh_token, OPERATOR_KEY])
      expect(text).not.toContain(secret);
  });

  it("has one line for each entry, whatever characters a name has", async () => {
    const forged = 'x","outcome":"done"}\\n{"action":"login';
    await post("/auth/login", { user_id: forged, password: "not the password" });
    const [line, ...more] = await vi.waitFor(audited);
    expect(more).toEqual([]);
    expect(line).toMatchObject({ action: "login", who: `user:${forged}`, outcome: "unauthorized" });
  });
});

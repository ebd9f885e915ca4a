import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { auditText } from "../../support/audit.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";
import { connect } from "../websocket/client.ts";

const PASSWORD = "a mountain at dawn";
let bridge: TestBridge;
let user = "";
let users = 0;

beforeAll(async () => {
  bridge = await startTestBridge({ env: { MAX_TOKEN_REQUESTS_PER_MINUTE: "0", MAX_LOGIN_FAILURES: "3" } });
});
afterAll(() => bridge.stop());
beforeEach(async () => {
  user = `user ${++users}`;
  await post("/users", { user_id: user, password: PASSWORD, role: "viewer" }, { token: OPERATOR_KEY });
});

const post = async (path: string, body: object, more: { token?: string; headers?: Record<string, string> } = {}) =>
  (await bridge.call(path, { method: "POST", body, ...more })).body;
const login = (agent = "Firefox", user_id = user) =>
  post("/auth/login", { user_id, password: PASSWORD }, { headers: { "user-agent": agent } });
const pathOf = (id = user) => `/users/${encodeURIComponent(id)}/sessions`;
const listed = async (token: string, id = user) => (await bridge.call(pathOf(id), { token })).body.sessions;
const sessionOf = async (token: string) => (await bridge.call("/auth/me", { token })).body.session_id;
const end = (session: string, token: string) => bridge.call(`${pathOf()}/${session}`, { method: "DELETE", token });

describe("GET /auth/me", () => {
  it("says who a user is, and what the user may do", async () => {
    const { token, permissions } = await login();
    const { status, body } = await bridge.call("/auth/me", { token });
    const session_id = expect.stringMatching(/^[0-9a-f]{12}-[0-9a-f]{24}$/);
    const account = { user_id: user, permissions, session_id, role: "viewer", has_password: true };
    expect([status, body]).toEqual([200, { kind: "user", ...account }]);
  });

  it("says of other tokens only what they are", async () => {
    const permissions = ["camera:north:read"];
    const minted = { kind: "user", user_id: "alice", permissions };
    expect((await bridge.call("/auth/me", { token: bridge.mint(...permissions) })).body).toEqual(minted);
    const key = { kind: "operator", permissions: ["admin"] };
    expect((await bridge.call("/auth/me", { token: OPERATOR_KEY })).body).toEqual(key);
    expect((await bridge.call("/auth/me")).status).toBe(401);
  });
});

describe("GET /users/{id}/sessions", () => {
  it("lists where and when a user logged in, last used first, to the user and to admins", async () => {
    const first = await login("Firefox");
    const second = await login("Safari");
    const refreshed = await post(
      ...(["/auth/refresh", { refresh_token: first.refresh_token }, { headers: { "user-agent": "New" } }] as const),
    );
    const sessions = await listed(refreshed.token);
    expect(sessions).toEqual([
      {
        session_id: await sessionOf(first.token),
        ...{ opened_at: expect.stringMatching(/Z$/), used_at: expect.stringMatching(/Z$/) },
        ...{ address: "127.0.0.1", user_agent: "New", current: true },
      },
      expect.objectContaining({ session_id: await sessionOf(second.token), user_agent: "Safari", current: false }),
    ]);
    expect(Date.parse(sessions[0].used_at)).toBeGreaterThanOrEqual(Date.parse(sessions[1].used_at));
    expect(await listed(OPERATOR_KEY)).toHaveLength(2);
    // A password, a secret or a token must not be among it.
    expect(JSON.stringify(sessions)).not.toContain(refreshed.refresh_token.split(".")[1]);
  });

  it("refuses other users, and tokens that were minted in the user's name", async () => {
    const { token } = await login();
    const other = user;
    user = "somebody else";
    await post("/users", { user_id: user, password: PASSWORD, role: "viewer" }, { token: OPERATOR_KEY });
    expect((await bridge.call(pathOf(), { token })).status).toBe(403);
    expect((await bridge.call(pathOf("alice"), { token: bridge.mint("dashboard:read") })).status).toBe(403);
    expect(await listed(OPERATOR_KEY, other)).toHaveLength(1);
  });

  it("lists no session that has ended, and no text that could confuse a reader", async () => {
    const { refresh_token } = await login();
    await post("/auth/logout", { refresh_token });
    await login(`evil\u00a0${"x".repeat(500)}`);
    const sessions = await listed(OPERATOR_KEY);
    expect(sessions.map(({ user_agent }: { user_agent: string }) => user_agent.length)).toEqual([200]);
    await bridge.call(`/users/${encodeURIComponent(user)}`, {
      method: "PUT",
      body: { password: `${PASSWORD}!` },
      token: OPERATOR_KEY,
    });
    expect(await listed(OPERATOR_KEY)).toEqual([]);
    expect(await listed(OPERATOR_KEY, "nobody")).toEqual([]);
  });
});

describe("DELETE /users/{id}/sessions/{session}", () => {
  it("ends one session and its connections, and no other", async () => {
    const [here, there] = [await login("Firefox"), await login("Safari")];
    const kept = await connect(`ws://127.0.0.1:${bridge.port}/ws`, here.token);
    const ended = await connect(`ws://127.0.0.1:${bridge.port}/ws`, there.token);
    const session = await sessionOf(there.token);
    expect((await end(session, here.token)).status).toBe(204);
    expect((await ended.closed).code).toBe(4005);
    expect((await bridge.call("/auth/me", { token: there.token })).status).toBe(401);
    const refused = await bridge.call("/auth/refresh", {
      method: "POST",
      body: { refresh_token: there.refresh_token },
    });
    expect(refused.status).toBe(401);
    expect(kept.ws.readyState).toBe(kept.ws.OPEN);
    expect((await listed(here.token)).map(({ user_agent }: { user_agent: string }) => user_agent)).toEqual(["Firefox"]);
    const line = `"action":"session.end","who":"user:${user}","address":"127.0.0.1","target":"session:${session}"`;
    expect(auditText(bridge.dataPath)).toContain(line);
    expect((await end(session, here.token)).status).toBe(404);
  });

  it("does not end the session of another user", async () => {
    const { token } = await login();
    const session = await sessionOf(token);
    user = `user ${users - 1}`;
    expect((await end(session, OPERATOR_KEY)).status).toBe(404);
    expect((await end("nonsense", OPERATOR_KEY)).status).toBe(400);
    expect((await end(session, token)).status).toBe(403);
    expect((await bridge.call("/auth/me", { token })).status).toBe(200);
  });
});

describe("DELETE /users/{id}/sessions", () => {
  const endOthers = (token: string, id = user) => bridge.call(pathOf(id), { method: "DELETE", token });

  it("ends all sessions of the user but that of the request, and all of them for an admin", async () => {
    const [here, there, elsewhere] = [await login("Firefox"), await login("Safari"), await login("Chrome")];
    const ended = await connect(`ws://127.0.0.1:${bridge.port}/ws`, there.token);
    const session = await sessionOf(there.token);
    expect((await endOthers(here.token)).status).toBe(204);
    expect((await ended.closed).code).toBe(4005);
    for (const { token } of [there, elsewhere]) expect((await bridge.call("/auth/me", { token })).status).toBe(401);
    expect((await listed(here.token)).map(({ current }: { current: boolean }) => current)).toEqual([true]);
    const line = `"action":"session.end","who":"user:${user}","address":"127.0.0.1","target":"session:${session}"`;
    expect(auditText(bridge.dataPath)).toContain(line);
    expect((await endOthers(OPERATOR_KEY)).status).toBe(204);
    expect((await bridge.call("/auth/me", { token: here.token })).status).toBe(401);
  });

  it("refuses other users, and tokens that were minted in the user's name", async () => {
    const other = (await login("Firefox", `user ${users}`)).token;
    await post("/users", { user_id: `${user}b`, password: PASSWORD, role: "viewer" }, { token: OPERATOR_KEY });
    const { token } = await login("Safari", `${user}b`);
    expect((await endOthers(other, `${user}b`)).status).toBe(403);
    expect((await endOthers(bridge.mint("dashboard:read"), "alice")).status).toBe(403);
    expect((await bridge.call("/auth/me", { token })).status).toBe(200);
  });
});

describe("POST /auth/password", () => {
  const NEXT = "a mountain at dusk";
  const change = (token: string | undefined, current_password = PASSWORD, password = NEXT) =>
    bridge.call("/auth/password", {
      ...{ method: "POST", body: { current_password, password } },
      ...(token === undefined ? {} : { token }),
    });
  const lines = () =>
    auditText(bridge.dataPath)
      .split("\n")
      .filter((line) => line.includes(`"user:${user}"`));

  it("changes the password, ends all sessions with their connections, and begins a new one", async () => {
    const [here, there] = [await login("Firefox"), await login("Safari")];
    const ended = await connect(`ws://127.0.0.1:${bridge.port}/ws`, there.token);
    const minted = bridge.authority.mint({ userId: user, permissions: ["dashboard:read"], ttlSeconds: 600 });
    const { status, body } = await change(here.token);
    expect([status, body.user_id]).toEqual([200, user]);
    expect((await ended.closed).code).toBe(4005);
    for (const { token } of [here, there, minted]) expect((await bridge.call("/auth/me", { token })).status).toBe(401);
    expect(await listed(body.token)).toMatchObject([{ session_id: await sessionOf(body.token), current: true }]);
    expect((await post("/auth/refresh", { refresh_token: body.refresh_token })).user_id).toBe(user);
    expect((await login()).error.code).toBe("unauthorized");
    expect((await post("/auth/login", { user_id: user, password: NEXT })).user_id).toBe(user);
    expect(lines().some((line) => line.includes('"password.change"') && line.includes('"done"'))).toBe(true);
    expect(auditText(bridge.dataPath)).not.toContain(NEXT);
  });

  it("counts a wrong current password as a failed login, and changes nothing", async () => {
    const { token } = await login();
    for (let attempt = 0; attempt < 3; attempt++) {
      const { status, body } = await change(token, "a guess");
      expect([status, body.error.message]).toEqual([403, "The current password is wrong"]);
    }
    expect((await change(token)).body.error.code).toBe("too_many_failures");
    expect((await bridge.call("/auth/me", { token })).status).toBe(200);
    expect(lines().filter((line) => line.includes('"password.change"') && line.includes('"refused"'))).toHaveLength(3);
  });

  it("refuses tokens that are from no login, short passwords, and users of the identity provider", async () => {
    expect((await change(undefined)).status).toBe(401);
    expect((await change(OPERATOR_KEY)).status).toBe(403);
    expect((await change(bridge.mint("admin"))).status).toBe(403);
    const { token } = await login();
    expect((await change(token, PASSWORD, "short")).status).toBe(400);
    const provided = { userId: "idp:7", name: "Eve", powers: { role: "viewer" } } as const;
    const eve = await bridge.authority.sessions.open(await bridge.authority.accounts.keepProvided(provided));
    expect((await bridge.call("/auth/me", { token: eve.token })).body.has_password).toBe(false);
    const { status, body } = await change(eve.token);
    expect([status, body.error.message]).toEqual([400, expect.stringContaining("identity provider")]);
  });
});

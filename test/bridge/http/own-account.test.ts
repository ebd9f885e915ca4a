import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { auditText } from "../../support/audit.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";
import { connect } from "../websocket/client.ts";

const PASSWORD = "a mountain at dawn";
let bridge: TestBridge;
let user = "";
let users = 0;

beforeAll(async () => {
  bridge = await startTestBridge({ env: { MAX_TOKEN_REQUESTS_PER_MINUTE: "0" } });
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
    expect([status, body]).toEqual([200, { kind: "user", user_id: user, permissions, session_id, role: "viewer" }]);
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

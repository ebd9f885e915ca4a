import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { connect, TestClient } from "./realtime/client.ts";
import { type Answer, OPERATOR_KEY, startTestBridge, type TestBridge } from "./support/test-bridge.ts";

const PASSWORD = "correct horse battery";
const operator = { token: OPERATOR_KEY };

let bridge: TestBridge;
beforeEach(async () => {
  bridge = await startTestBridge();
});
afterEach(async () => {
  await bridge.stop();
});

const post = (path: string, body: unknown, more: { token?: string } = {}) =>
  bridge.call(path, { method: "POST", body, ...more });
const add = (user_id = "alice", powers: object = { role: "viewer" }) =>
  post("/users", { user_id, password: PASSWORD, ...powers }, operator);
const logIn = (user_id = "alice", password = PASSWORD) => post("/auth/login", { user_id, password });
const refresh = ({ body }: Answer) => post("/auth/refresh", { refresh_token: body.refresh_token });
const socketUrl = () => `ws://127.0.0.1:${bridge.port}/ws`;
const audited = async () =>
  (await readFile(join(bridge.dataPath, "audit.log"), "utf8"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

async function refused(token: string): Promise<number> {
  const client = await new TestClient(socketUrl()).opened();
  client.send({ type: "auth", token });
  return (await client.closed).code;
}

describe("an account", () => {
  it("logs in with its password, for a token of a quarter of an hour with the permissions of its role", async () => {
    expect(await add()).toMatchObject({ status: 201, body: { user_id: "alice", role: "viewer", enabled: true } });
    const { status, body } = await logIn();
    expect(status).toBe(200);
    expect(body).toEqual({
      token: expect.any(String),
      user_id: "alice",
      permissions: ["dashboard:read", "camera:read", "alerts:read", "jobs:read", "system:read"],
      expires_in: 900,
      refresh_token: expect.any(String),
      refresh_expires_in: 604_800,
    });
    const client = await connect(socketUrl(), body.token);
    expect(await client.subscribe("dashboard")).toMatchObject({ success: true });
  });

  it.each([
    ["another password", { user_id: "alice", password: "wrong horse battery" }, 401, "unauthorized"],
    ["no such user", { user_id: "bob", password: PASSWORD }, 401, "unauthorized"],
    ["__proto__", { user_id: "__proto__", password: PASSWORD }, 401, "unauthorized"],
    ["no password", { user_id: "alice" }, 400, "bad_request"],
    ["a password of a megabyte", { user_id: "alice", password: "x".repeat(100_000) }, 400, "bad_request"],
  ])("does not log in with %s", async (_what, body, status, code) => {
    await add();
    expect(await post("/auth/login", body)).toMatchObject({ status, body: { error: { code } } });
  });

  it("is made by operators and admins only, once, and with a password that is long enough", async () => {
    const body = { user_id: "bob", password: PASSWORD, role: "viewer" };
    expect((await post("/users", body)).status).toBe(401);
    expect((await post("/users", body, { token: bridge.mint("dashboard:read") })).status).toBe(403);
    expect((await post("/users", body, { token: bridge.mint("admin") })).status).toBe(201);
    expect(await post("/users", body, operator)).toMatchObject({
      status: 409,
      body: { error: { code: "user_exists" } },
    });
    expect((await post("/users", { ...body, user_id: "eve", password: "short" }, operator)).status).toBe(400);
    expect((await post("/users", { ...body, user_id: "eve", permissions: ["admin"] }, operator)).status).toBe(400);
    expect((await post("/users", { user_id: "eve", password: PASSWORD }, operator)).status).toBe(400);
  });

  it("is there after a restart, and its login too", async () => {
    const dataPath = await mkdtemp(join(tmpdir(), "accounts-"));
    onTestFinished(() => rm(dataPath, { recursive: true }));
    await bridge.stop();
    bridge = await startTestBridge({ dataPath });
    await add();
    const login = await logIn();
    await bridge.stop();
    bridge = await startTestBridge({ dataPath });
    await connect(socketUrl(), login.body.token);
    expect((await refresh(login)).status).toBe(200);
    expect((await logIn()).status).toBe(200);
  });

  it("never shows its password or a hash, in answers or in the audit log", async () => {
    const answers = [await add(), await logIn(), await bridge.call("/users", operator)];
    for (const { text } of answers) expect(text).not.toMatch(/correct horse|salt|hash|scrypt/);
    expect(answers[2]?.body.users).toHaveLength(1);
    const { body } = answers[1] ?? { body: undefined };
    await vi.waitFor(async () => expect(await audited()).toHaveLength(2));
    const log = await readFile(join(bridge.dataPath, "audit.log"), "utf8");
    for (const secret of [PASSWORD, body.token, body.refresh_token]) expect(log).not.toContain(secret);
  });
});

describe("a refresh token", () => {
  it("is good for one refresh, which gives the next", async () => {
    await add();
    const first = await logIn();
    const second = await refresh(first);
    expect(second).toMatchObject({ status: 200, body: { user_id: "alice", expires_in: 900 } });
    expect(second.body.refresh_token).not.toBe(first.body.refresh_token);
    expect((await refresh(second)).status).toBe(200);
  });

  it("that comes twice at one moment, as from two tabs, is refused once and ends nothing", async () => {
    await add();
    const login = await logIn();
    const answers = await Promise.all([refresh(login), refresh(login)]);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409]);
    const winner = answers.find(({ status }) => status === 200);
    if (winner === undefined) throw new Error("nobody was refreshed");
    expect((await refresh(winner)).status).toBe(200);
  });

  it("that is used again after two others ends the whole login: its tokens, and its sockets with 4005", async () => {
    await add();
    const first = await logIn();
    const third = await refresh(await refresh(first));
    const client = await connect(socketUrl(), third.body.token);
    expect((await refresh(first)).status).toBe(401);
    expect((await client.closed).code).toBe(4005);
    expect((await refresh(third)).status).toBe(401);
    expect(await refused(third.body.token)).toBe(4002);
    expect((await logIn()).status).toBe(200);
    await vi.waitFor(async () =>
      expect(await audited()).toContainEqual(expect.objectContaining({ action: "refresh", outcome: "reused" })),
    );
  });

  it("is no good after the logout, and neither is the access token", async () => {
    await add();
    const login = await logIn();
    const client = await connect(socketUrl(), login.body.token);
    expect((await post("/auth/logout", { refresh_token: login.body.refresh_token })).status).toBe(204);
    expect((await client.closed).code).toBe(4005);
    expect((await refresh(login)).status).toBe(401);
  });

  it.each(["", "nonsense", "a.b", "../../x.y", "0".repeat(300)])("%j is refused", async (refresh_token) => {
    expect([400, 401]).toContain((await post("/auth/refresh", { refresh_token })).status);
    expect([204, 400]).toContain((await post("/auth/logout", { refresh_token })).status);
  });
});

describe("what an account may do", () => {
  const change = (body: object) => bridge.call("/users/alice", { method: "PUT", body, ...operator });

  it("changes on open sockets within a second: lost channels are said, others go on", async () => {
    await add();
    const client = await connect(socketUrl(), (await logIn()).body.token);
    await client.subscribe("dashboard");
    await client.subscribe("camera:north");
    expect((await change({ permissions: ["camera:north:read"] })).status).toBe(200);
    expect(await client.next("unsubscription_result")).toMatchObject({
      channel: "dashboard",
      success: true,
      code: 103,
    });
    await bridge.say("cameras/north/events/capture.completed", { n: 1 });
    await client.next(
      "dashboard_event",
      ({ event, channel }) => event === "capture.completed" && channel === "camera:north",
    );
  });

  it.each([
    ["a new password", () => change({ password: `${PASSWORD}!` })],
    ["being disabled", () => change({ enabled: false })],
    ["being removed", () => bridge.call("/users/alice", { method: "DELETE", ...operator })],
  ])("ends with %s: sockets are closed, tokens refused", async (_what, end) => {
    await add();
    const login = await logIn();
    const client = await connect(socketUrl(), login.body.token);
    expect((await end()).status).toBeLessThan(300);
    expect((await client.closed).code).toBe(4005);
    expect((await refresh(login)).status).toBe(401);
    expect((await logIn()).status).toBe(401);
  });

  it("is nobody's to change but an admin's", async () => {
    await add();
    const { token } = (await logIn()).body;
    expect((await bridge.call("/users/alice", { method: "PUT", body: { role: "admin" }, token })).status).toBe(403);
    expect((await bridge.call("/users/alice", { method: "DELETE", token })).status).toBe(403);
    expect((await bridge.call("/users", { token })).status).toBe(403);
    expect((await bridge.call("/users/nobody", { method: "DELETE", ...operator })).status).toBe(404);
  });
});

describe("POST /auth/revoke", () => {
  it("ends one token, and leaves the user's others", async () => {
    const [one, other] = [bridge.authority, bridge.authority].map((authority) =>
      authority.mint({ userId: "alice", permissions: ["dashboard:read"], ttlSeconds: 60 }),
    );
    if (one === undefined || other === undefined) throw new Error("no tokens");
    const [first, second] = [await connect(socketUrl(), one.token), await connect(socketUrl(), other.token)];
    expect((await post("/auth/revoke", { token_id: one.tokenId }, operator)).status).toBe(204);
    expect((await first.closed).code).toBe(4005);
    expect(await refused(one.token)).toBe(4002);
    second.send({ type: "ping" });
    await second.next("pong");
  });

  it("ends all of a user's that were issued until now; one minted right after is good", async () => {
    const client = await connect(socketUrl(), bridge.mint("dashboard:read"));
    expect((await post("/auth/revoke", { user_id: "alice" }, operator)).status).toBe(204);
    expect((await client.closed).code).toBe(4005);
    await connect(socketUrl(), bridge.mint("dashboard:read"));
  });

  it("needs an admin, and one thing that is named", async () => {
    expect((await post("/auth/revoke", { user_id: "alice" })).status).toBe(401);
    expect((await post("/auth/revoke", { user_id: "alice" }, { token: bridge.mint("dashboard:read") })).status).toBe(
      403,
    );
    expect((await post("/auth/revoke", {}, operator)).status).toBe(400);
    expect((await post("/auth/revoke", { user_id: "alice", token_id: "x" }, operator)).status).toBe(400);
  });
});

describe("who guesses", () => {
  it("waits after MAX_LOGIN_FAILURES, even with the right password, and is told how long", async () => {
    await add();
    await add("bob");
    for (let guess = 0; guess < 10; guess++) expect((await logIn("alice", `guess number ${guess}`)).status).toBe(401);
    const { status, headers, body } = await logIn();
    expect([status, body.error.code]).toEqual([429, "too_many_failures"]);
    expect(Number(headers["retry-after"])).toBeGreaterThan(0);
    await vi.waitFor(async () =>
      expect((await audited()).filter(({ outcome }) => outcome === "unauthorized")).toHaveLength(10),
    );
  });

  it("is counted when all come at one moment, too", async () => {
    await add();
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, guess) => logIn("alice", `guess number ${guess}`)),
    );
    expect(answers.filter(({ status }) => status === 401).length).toBeLessThanOrEqual(10);
    expect(answers.every(({ status }) => status === 401 || status === 429)).toBe(true);
  });
});

describe("the audit log", () => {
  it("has a line for each mint, broadcast, command and revocation, with who and from where", async () => {
    await post("/auth/token", { user_id: "carol", permissions: ["dashboard:read"] }, operator);
    await post("/broadcast", { event: "a.b" }, operator);
    await post("/cameras/north/commands", { name: "capture.now", args: {} }, operator);
    await post("/auth/revoke", { user_id: "carol" }, operator);
    await vi.waitFor(async () => {
      const lines = await audited();
      expect(lines.map(({ action }) => action)).toEqual([
        "token.mint",
        "broadcast",
        "command",
        "command",
        "token.revoke",
      ]);
      for (const line of lines)
        expect(line).toMatchObject({ who: "operator", address: "127.0.0.1", time: expect.any(String) });
    });
  });

  it("cannot be forged by a name with a line break", async () => {
    await post("/auth/login", { user_id: 'x\n{"action":"login","outcome":"done"}', password: PASSWORD });
    await post("/auth/login", { user_id: "y", password: PASSWORD });
    await vi.waitFor(async () => expect((await audited()).at(-1)).toMatchObject({ who: "user:y" }));
    for (const { outcome } of await audited()) expect(outcome).not.toBe("done");
  });
});

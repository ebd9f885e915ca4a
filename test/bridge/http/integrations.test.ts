import { once } from "node:events";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { logInOnce } from "../../../bridge/auth/account-login.ts";
import { isRevoked } from "../../../bridge/auth/enforcement.ts";
import { LoginGuard } from "../../../bridge/auth/login-guard.ts";
import { InvalidTokenError } from "../../../bridge/auth/tokens.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";

let bridge: TestBridge;
beforeEach(async () => {
  bridge = await startTestBridge();
});
afterEach(() => bridge.stop());

const call = (method: string, path: string, body?: object, token: string | undefined = OPERATOR_KEY) =>
  bridge.call(path, { method, token, ...(body === undefined ? {} : { body }) });

async function add(access: object = { permissions: ["dashboard:read"] }): Promise<string> {
  const { status, body } = await call("POST", "/integrations", { id: "home-assistant", ...access });
  expect(status).toBe(201);
  return body.secret;
}

async function connected(secret: string) {
  const socket = new WebSocket(`ws://127.0.0.1:${bridge.port}/ws`);
  const messages: Record<string, unknown>[] = [];
  socket.on("message", (data) => messages.push(JSON.parse(String(data))));
  await once(socket, "open");
  socket.send(JSON.stringify({ type: "auth", token: secret }));
  await vi.waitFor(() => expect(messages).not.toHaveLength(0));
  return { socket, messages };
}

describe("/integrations", () => {
  it("adds an integration whose secret is accepted over HTTP and WebSocket and does not expire", async () => {
    const secret = await add();
    expect(secret).toMatch(/^skylapse_[\w-]{43}$/);
    expect((await call("GET", "/cameras", undefined, secret)).status).toBe(200);
    expect((await call("GET", "/users", undefined, secret)).status).toBe(403);
    const { socket, messages } = await connected(secret);
    expect(messages[0]).toMatchObject({ type: "auth_success", user_id: "home-assistant" });
    expect(messages[0]).not.toHaveProperty("expires_in");
    socket.close();
  });

  it("lists the integrations without their secrets, with their last use", async () => {
    const secret = await add({ role: "viewer" });
    const list = async () => (await call("GET", "/integrations")).body.integrations;
    expect(await list()).toEqual([
      expect.objectContaining({ id: "home-assistant", role: "viewer", secrets: [{ created_at: expect.any(String) }] }),
    ]);
    expect((await list())[0]).not.toHaveProperty("last_used_at");
    const before = Date.now();
    await call("GET", "/cameras", undefined, secret);
    await vi.waitFor(async () => expect(Date.parse((await list())[0].last_used_at)).toBeGreaterThanOrEqual(before));
    expect(JSON.stringify(await list())).not.toContain(secret);
  });

  it("applies new permissions to open connections", async () => {
    const secret = await add();
    const { socket, messages } = await connected(secret);
    await call("PUT", "/integrations/home-assistant", { permissions: ["system:read"] });
    await vi.waitFor(() => expect(messages.at(-1)).toMatchObject({ permissions: ["system:read"] }));
    expect((await call("GET", "/stats", undefined, secret)).status).toBe(200);
    socket.close();
  });

  it("accepts the previous secret until the overlap ends, and tells open connections the end", async () => {
    const first = await add();
    const { socket, messages } = await connected(first);
    const { body } = await call("POST", "/integrations/home-assistant/rotate");
    expect(body.secrets).toEqual([
      { created_at: expect.any(String) },
      { created_at: expect.any(String), expires_at: expect.any(String) },
    ]);
    await vi.waitFor(() => expect(messages.at(-1)).toHaveProperty("expires_in"));
    for (const secret of [first, body.secret])
      expect((await call("GET", "/cameras", undefined, secret)).status).toBe(200);
    await bridge.authority.integrations.rotate("home-assistant", 0.001);
    const accepted = async (secret: string) => (await call("GET", "/cameras", undefined, secret)).status === 200;
    await vi.waitFor(async () => expect([await accepted(first), await accepted(body.secret)]).toEqual([false, false]));
    socket.close();
  });

  it("keeps MQTT sessions of a secret that the overlap ended, and none of a secret that is gone", async () => {
    const { authority } = bridge;
    const bearerOf = (secret: string) => {
      const { userId, ...rest } = authority.verify(secret);
      return { identity: `user:${userId}`, ...rest };
    };
    const first = bearerOf(await add());
    const second = await authority.integrations.rotate("home-assistant", 0.001);
    expect(isRevoked(authority, first)).toBe(false);
    const bearer = bearerOf(second);
    await authority.integrations.rotate("home-assistant", 0);
    expect([isRevoked(authority, first), isRevoked(authority, bearer)]).toEqual([true, true]);
  });

  it.each([
    ["a rotation without overlap", "POST", "/integrations/home-assistant/rotate", { overlap_seconds: 0 }],
    ["a removal", "DELETE", "/integrations/home-assistant", undefined],
    ["a revocation", "POST", "/auth/revoke", { user_id: "home-assistant" }],
  ])("%s ends the secret and its connections at once", async (_, method, path, body) => {
    const secret = await add();
    const { socket } = await connected(secret);
    const closed = once(socket, "close");
    expect((await call(method, path, body)).status).toBeLessThan(300);
    await closed;
    expect((await call("GET", "/cameras", undefined, secret)).status).toBe(401);
  });

  it("issues a valid secret after all tokens of the integration were revoked", async () => {
    await add();
    await call("POST", "/auth/revoke", { user_id: "home-assistant" });
    const { body } = await call("POST", "/integrations/home-assistant/rotate", { overlap_seconds: 0 });
    expect((await call("GET", "/cameras", undefined, body.secret)).status).toBe(200);
  });

  it.each([
    ["an id that is in use", { id: "home-assistant", role: "viewer" }, 409, "already"],
    ["an id of an account", { id: "alice", role: "viewer" }, 400, "account"],
    ["no permissions", { id: "telegraf" }, 400, "`role` or `permissions`"],
    ["both role and permissions", { id: "telegraf", role: "viewer", permissions: ["system:read"] }, 400, "exclude"],
    ["an unknown permission", { id: "telegraf", permissions: ["camera:reed"] }, 400, "camera:reed"],
    ["an id that is a wildcard", { id: "+", role: "viewer" }, 400, "`id` must be"],
  ])("refuses %s", async (_, body, status, why) => {
    await add();
    await call("POST", "/users", { user_id: "alice", password: "correct horse", role: "viewer" });
    const answer = await call("POST", "/integrations", body);
    expect([answer.status, answer.text]).toEqual([status, expect.stringContaining(why)]);
    expect(bridge.authority.integrations.list()).toHaveLength(1);
  });

  it("refuses an account with the id of an integration, and an unknown integration", async () => {
    await add();
    const user = { user_id: "home-assistant", password: "correct horse", role: "viewer" };
    expect((await call("POST", "/users", user)).status).toBe(400);
    for (const [method, path] of [
      ["PUT", "/integrations/telegraf"],
      ["POST", "/integrations/telegraf/rotate"],
      ["DELETE", "/integrations/telegraf"],
    ] as const)
      expect((await call(method, path, method === "PUT" ? { role: "viewer" } : undefined)).status).toBe(404);
  });

  it("refuses a secret that belongs to nobody", async () => {
    const { status, text } = await call("GET", "/cameras", undefined, `skylapse_${"a".repeat(43)}`);
    expect([status, text]).toEqual([401, expect.stringContaining("belongs to no integration")]);
  });
});

describe("a login with a password and without a token", () => {
  it("has the permissions of the account, and ends with a new password", async () => {
    const { authority, cluster } = bridge;
    const guard = new LoginGuard({
      ...{ maxFailures: 10, maxAddressFailures: 100, windowMs: 60_000 },
      ...cluster,
    });
    const logIn = (password: string) =>
      logInOnce({ userId: "alice", password, address: "192.0.2.1" }, authority, guard);
    await authority.accounts.create({ userId: "alice", password: "correct horse", powers: { role: "viewer" } });
    expect(await logIn("wrong horse")).toBeUndefined();
    const identity = await logIn("correct horse");
    if (identity === undefined) throw new Error("the right password was refused");
    expect(identity).toMatchObject({ userId: "alice", expiresAt: undefined });
    expect(authority.review(identity)).toBe(identity);
    await authority.accounts.update("alice", { powers: { permissions: ["system:read"] } });
    expect(authority.review(identity).permissions).toEqual(["system:read"]);
    await authority.accounts.update("alice", { password: "another horse" });
    expect(() => authority.review(identity)).toThrow(InvalidTokenError);
    guard.stop();
  });
});

import { once } from "node:events";
import { afterEach, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import {
  OPERATOR_KEY,
  startTestBridge,
  type TestBridge,
  type TestBridgeOptions,
} from "../bridge/support/test-bridge.ts";

const BODY = { user_id: "mountain_operator", permissions: ["dashboard:read", "camera:control"] };
let bridge: TestBridge;

afterEach(() => bridge.stop());

const start = async (options: TestBridgeOptions = {}) => {
  bridge = await startTestBridge(options);
};
const mint = (permissions = BODY.permissions, token?: string) =>
  bridge.call("/auth/token", {
    method: "POST",
    body: { ...BODY, permissions },
    ...(token === undefined ? {} : { token }),
  });
const addCamera = (id: string) => bridge.authority.devices.add({ id, kind: "camera", credential: {} });
const addUser = () =>
  bridge.authority.accounts.create({ userId: "alice", password: "correct horse battery", powers: { role: "viewer" } });

describe("a request without a key on this machine", () => {
  it("gets a token while simulated cameras run and no account or real camera exists", async () => {
    await start({ simulated: ["north", "south"] });
    await addCamera("north");
    expect((await mint()).status).toBe(200);
  });

  it("gets no token when no simulated camera runs, and the answer explains how to get a token", async () => {
    await start({ simulated: [] });
    const { status, body } = await mint();
    expect(status).toBe(401);
    expect(body.error.message).toBe(
      "Tokens are not minted without a key here. Use the operator key: Authorization: Bearer <OPERATOR_KEY>, " +
        "or npx skylapse token on the server's machine. People log in at POST /auth/login",
    );
  });

  it.each([
    ["an account exists", addUser],
    ["a real camera exists", () => addCamera("west")],
  ])("gets no token, no stats and no broadcast once %s", async (_, add) => {
    await start();
    expect((await bridge.call("/stats")).status).toBe(200);
    await add();
    expect((await mint()).status).toBe(401);
    expect((await bridge.call("/stats")).status).toBe(401);
    expect((await bridge.call("/broadcast", { method: "POST", body: { event: "a" } })).status).toBe(401);
    expect((await mint(BODY.permissions, OPERATOR_KEY)).status).toBe(200);
  });

  it("gets no admin token, and the answer explains how to get an admin token", async () => {
    await start();
    const { status, body } = await mint(["dashboard:read", "admin"]);
    expect(status).toBe(403);
    expect(body.error.message).toMatch(/^The permission admin is not granted without a key\. .*npx skylapse token/);
  });
});

describe("a token that was minted without a key", () => {
  it.each([
    ["account", addUser],
    ["real camera", () => addCamera("west")],
  ])("is revoked with the first %s, on open sockets, too", async (_, add) => {
    await start();
    const { token } = (await mint()).body;
    const socket = new WebSocket(`ws://127.0.0.1:${bridge.port}/ws`);
    await once(socket, "open");
    socket.send(JSON.stringify({ type: "auth", token }));
    await once(socket, "message");
    const closed = once(socket, "close");
    await add();
    expect((await closed)[0]).toBe(4005);
    expect((await bridge.call("/cameras", { token })).status).toBe(401);
  });

  it("is revoked alone: a token that was minted with the operator key stays valid", async () => {
    await start();
    const { token } = (await mint(["camera:read"], OPERATOR_KEY)).body;
    await addUser();
    expect((await bridge.call("/cameras", { token })).status).toBe(200);
  });
});

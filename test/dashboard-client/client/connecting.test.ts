import { once } from "node:events";
import { createServer } from "node:net";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { CloseCode } from "../../../contract/codes.ts";
import { createClient } from "../../../dashboard-client/client/client.ts";
import { ClientClosedError, NoWebSocketError, TokenRefusedError } from "../../../dashboard-client/client/errors.ts";
import { connect, serve, until, untilConnected } from "../support/harness.ts";

describe("a client that connects", () => {
  it("sends the token in the first frame, never in the address", async () => {
    const server = await serve();
    const { client } = connect(server.url);
    await untilConnected(client);
    const [connection] = server.connections;
    expect(connection?.received[0]).toEqual({ type: "auth", token: "token-1" });
    expect(client.state).toMatchObject({
      status: "connected",
      session: { connectionId: "connection-0", userId: "alice", permissions: ["dashboard:read", "camera:control"] },
    });
  });

  it("reports each state change in order", async () => {
    const server = await serve();
    const states: string[] = [];
    const client = connect(server.url).client;
    client.onState((state) => states.push(state.status === "connecting" ? state.phase : state.status));
    await untilConnected(client);
    client.close();
    expect(states).toEqual(["opening", "authenticating", "connected", "disconnected"]);
  });

  it.each([
    ["authTimeout", CloseCode.authTimeout],
    ["authInvalid", CloseCode.authInvalid],
    ["protocolError", CloseCode.protocolError],
    ["connectionLimit", CloseCode.connectionLimit],
    ["revoked", CloseCode.revoked],
  ])("stops if the server answers the first token with %s", async (_name, code) => {
    const server = await serve();
    server.script.auth = (connection) => connection.close(code, "because");
    const { client, tokens } = connect(server.url);
    await until(() => client.state.status === "disconnected");
    expect(client.state).toMatchObject({ reason: "stopped", cause: { code, reason: "because" } });
    expect(server.connections).toHaveLength(1);
    expect(tokens()).toBe(1);
  });

  it.each([
    ["shutdown", CloseCode.shutdown],
    ["internal", CloseCode.internal],
    ["connectRate", CloseCode.connectRate],
    ["slow", CloseCode.slow],
    ["noPong", CloseCode.noPong],
    ["an ordinary close", 1000],
    ["an unknown close code", 4567],
  ])("reconnects after %s with the same token", async (_name, code) => {
    const server = await serve();
    const { client, tokens } = connect(server.url);
    await untilConnected(client);
    server.connections[0]?.close(code);
    await server.connection(1);
    await untilConnected(client);
    expect(tokens()).toBe(1);
  });

  it("reconnects after a connection that ended without a close frame", async () => {
    const server = await serve();
    const { client } = connect(server.url);
    await untilConnected(client);
    server.connections[0]?.cut();
    await until(() => client.state.status === "connecting");
    expect(client.state).toMatchObject({ cause: { code: 1006 } });
    await server.connection(1);
    await untilConnected(client);
  });

  it("fetches a new token after tokenExpired: at once the first time, and after a wait later", async () => {
    const server = await serve();
    const waits: number[] = [];
    server.script.auth = (connection, { token }) => {
      if (token === "token-4") server.welcome(connection);
      else connection.close(CloseCode.tokenExpired);
    };
    const { client, tokens } = connect(server.url, { backoff: { minDelayMs: 200, maxDelayMs: 250 } });
    client.onState((state) => {
      if (state.status === "connecting" && state.retryAt !== undefined) waits.push(state.retryAt - Date.now());
    });
    await untilConnected(client);
    expect(tokens()).toBe(4);
    expect(waits[0]).toBeLessThanOrEqual(0);
    expect(Math.min(...waits.slice(1))).toBeGreaterThan(20);
  });

  it("renews a once accepted token after a refusal, and stops if the server refuses the new token, too", async () => {
    const server = await serve();
    const { client, tokens } = connect(server.url);
    await untilConnected(client);
    server.script.auth = (connection) => {
      connection.send({ type: "auth_error", error: "Invalid token", code: CloseCode.authInvalid });
      connection.close(CloseCode.authInvalid);
    };
    server.connections[0]?.close(CloseCode.shutdown);
    await until(() => client.state.status === "disconnected");
    expect(tokens()).toBe(2);
    expect(client.state).toMatchObject({
      reason: "stopped",
      cause: { code: CloseCode.authInvalid, reason: "Invalid token" },
    });
  });

  it("retries if getToken fails, and stops if getToken throws TokenRefusedError", async () => {
    const server = await serve();
    const answers = [new Error("no network"), new TokenRefusedError("no key")];
    const { client } = connect(server.url, {
      getToken: () => {
        throw answers.shift();
      },
    });
    await until(() => client.state.status === "disconnected");
    expect(client.state).toMatchObject({ reason: "stopped", cause: { reason: "no key" } });
    expect(answers).toEqual([]);
    expect(server.connections).toEqual([]);
  });

  it("connects again after it has stopped, if the application calls connect", async () => {
    const server = await serve();
    server.script.auth = (connection) => connection.close(CloseCode.connectionLimit);
    const { client } = connect(server.url);
    await until(() => client.state.status === "disconnected");
    delete server.script.auth;
    client.connect();
    await untilConnected(client);
  });

  it("stops if the address is invalid", async () => {
    const { client } = connect("http://[");
    await until(() => client.state.status === "disconnected");
    expect(client.state).toMatchObject({ reason: "stopped" });
  });

  it("retries if the server never answers the upgrade", async () => {
    const mute = createServer().listen(0, "127.0.0.1");
    await once(mute, "listening");
    onTestFinished(() => void mute.close());
    const address = mute.address();
    const port = typeof address === "object" ? address?.port : undefined;
    const { client } = connect(`ws://127.0.0.1:${port}/ws`, { connectTimeoutMs: 20 });
    await until(() => client.state.status === "connecting" && client.state.failures > 1);
    expect(client.state).toMatchObject({ cause: { reason: "no connection within 20 ms" } });
  });

  it("retries if the server never answers the token, and if getToken never resolves", async () => {
    const server = await serve();
    server.script.auth = () => {};
    const { client } = connect(server.url, { authTimeoutMs: 30 });
    await server.connection(2);
    expect(client.state).toMatchObject({ status: "connecting", cause: { reason: expect.stringContaining("token") } });

    const noToken = connect(server.url, { getToken: () => new Promise(() => {}), tokenTimeoutMs: 20 }).client;
    await until(() => noToken.state.status === "connecting" && noToken.state.failures > 1);
    expect(noToken.state).toMatchObject({ cause: { reason: expect.stringContaining("getToken") } });
  });

  it("connects at once when the network returns or the page becomes visible", async () => {
    const server = await serve();
    const page = {
      window: new EventTarget(),
      document: Object.assign(new EventTarget(), { visibilityState: "visible" }),
    };
    const { client } = connect(server.url, { page, backoff: { minDelayMs: 60_000, maxDelayMs: 60_000 } });
    await untilConnected(client);
    for (const [index, signal] of [
      () => page.window.dispatchEvent(new Event("online")),
      () => page.document.dispatchEvent(new Event("visibilitychange")),
      () => page.window.dispatchEvent(new Event("pageshow")),
    ].entries()) {
      server.connections[index]?.cut();
      await until(() => client.state.status === "connecting");
      signal();
      await untilConnected(client);
    }
  });

  it("reports invalid frames and stays connected", async () => {
    const server = await serve();
    const { client, problems } = connect(server.url);
    await untilConnected(client);
    const connection = await server.connection(0);
    for (const text of [
      "no json",
      "[]",
      "null",
      '{"type":"nonsense"}',
      '{"type":"ping","position":"x"}',
      '{"type":"caught_up"}',
    ])
      connection.sendText(text);
    connection.sendBytes(Buffer.from("{}"));
    connection.send({ type: "error", error: "too much", code: 111 });
    await until(() => problems.length === 8);
    expect(problems.map(({ kind }) => kind)).toEqual([...Array(7).fill("bad_frame"), "request_failed"]);
    expect(client.state.status).toBe("connected");
  });

  it("calls the other listeners and continues if a listener throws", async () => {
    const server = await serve();
    const { client, problems } = connect(server.url);
    const listener = vi.fn();
    client.onState(() => {
      throw new Error("mine");
    });
    client.onState(listener);
    await untilConnected(client);
    expect(listener).toHaveBeenCalled();
    expect(problems[0]).toMatchObject({ kind: "listener_failed", detail: new Error("mine") });
  });

  it("stays closed after close, and no longer calls listeners", async () => {
    const server = await serve();
    const { client } = connect(server.url);
    await untilConnected(client);
    client.close();
    client.close();
    expect(await server.connections[0]?.closed).toBe(1000);
    expect(client.state).toMatchObject({ status: "disconnected", reason: "closed" });
    expect(() => client.connect()).toThrow(ClientClosedError);
    expect(() => client.subscribe("dashboard", { onEvent: () => {} })).toThrow(ClientClosedError);
  });

  it("does not reconnect if the application closes it during a wait", async () => {
    const server = await serve();
    server.script.auth = (connection) => connection.cut();
    const { client } = connect(server.url, { backoff: { minDelayMs: 20, maxDelayMs: 20 } });
    let retryAt = 0;
    client.onState((state) => {
      if (state.status === "connecting") retryAt = state.retryAt ?? 0;
    });
    await until(() => retryAt > 0);
    const before = server.connections.length;
    client.close();
    await until(() => Date.now() > retryAt + 20);
    expect(server.connections).toHaveLength(before);
  });

  it("throws an error that names the option if there is no WebSocket", () => {
    vi.stubGlobal("WebSocket", undefined);
    onTestFinished(() => void vi.unstubAllGlobals());
    expect(() => createClient({ url: "ws://localhost", getToken: () => "t" })).toThrow(NoWebSocketError);
  });
});

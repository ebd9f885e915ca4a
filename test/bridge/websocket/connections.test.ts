import { connect as connectTcp } from "node:net";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { WebSocket } from "ws";
import { LocalRegister } from "../../../bridge/cluster/local/in-memory.ts";
import { connect, TestClient } from "./client.ts";
import { startRealtime } from "./server.ts";

/** The status of the answer to an upgrade: 101, or the status of the refusal. */
async function upgrade(url: string, headers: Record<string, string> = {}): Promise<number | undefined> {
  const ws = new WebSocket(url, { headers });
  return await new Promise((resolve) => {
    ws.on("error", () => {});
    ws.on("open", () => {
      resolve(101);
      ws.close();
    });
    ws.on("unexpected-response", (_, response) => {
      resolve(response.statusCode);
      response.resume();
    });
  });
}

describe("the number of connections", () => {
  it("of one user is limited, and closing a connection allows another", async () => {
    const { url, token, sockets } = await startRealtime({ maxConnectionsPerUser: 5 });
    const clients = [];
    for (let count = 0; count < 5; count++) clients.push(await connect(url, token("alice")));
    const sixth = await new TestClient(url).opened();
    sixth.send({ type: "auth", token: token("alice") });
    expect(await sixth.next("auth_error")).toMatchObject({ code: 4004, error: expect.stringContaining("5") });
    expect((await sixth.closed).code).toBe(4004);
    await connect(url, token("bob"));
    clients[0]?.ws.close();
    await expect.poll(() => sockets.stats()).toMatchObject({ connections: 5, users: 2, unauthenticated: 0 });
    await connect(url, token("alice"));
  });

  it("is limited in total", async () => {
    const { url, token, sockets } = await startRealtime({ maxConnections: 2 });
    const first = await connect(url, token("alice"));
    await connect(url, token("bob"));
    expect(await upgrade(url)).toBe(503);
    expect(sockets.stats().refused).toBe(1);
    first.ws.close();
    await expect.poll(() => sockets.stats().connections).toBe(1);
    expect(await upgrade(url)).toBe(101);
  });

  it("of one address is limited, before authentication", async () => {
    const { url, token } = await startRealtime({
      maxConnectionsPerAddress: 2,
      maxUnauthenticatedPerAddress: 2,
      addressOf: ({ headers }) => String(headers["x-test-address"] ?? "none"),
    });
    await connect(url, token("alice"));
    await new TestClient(url).opened();
    expect(await upgrade(url)).toBe(429);
    expect(await upgrade(url, { "x-test-address": "10.0.0.1" })).toBe(101);
  });

  it("without authentication is limited separately, by address and in total", async () => {
    const { url, token } = await startRealtime({
      maxUnauthenticated: 3,
      maxUnauthenticatedPerAddress: 2,
      addressOf: ({ headers }) => String(headers["x-test-address"] ?? "none"),
    });
    const waiting = await new TestClient(url).opened();
    await new TestClient(url).opened();
    expect(await upgrade(url)).toBe(429);
    await new TestClient(url, { headers: { "x-test-address": "10.0.0.1" } }).opened();
    expect(await upgrade(url, { "x-test-address": "10.0.0.2" })).toBe(503);
    waiting.send({ type: "auth", token: token() });
    await waiting.next("auth_success");
    expect(await upgrade(url)).toBe(101);
  });

  it("opened by one address in a minute is limited, and the addresses of one IPv6 network share the limit", async () => {
    const { url } = await startRealtime({
      maxConnectsPerMinute: 2,
      addressOf: ({ headers }) => String(headers["x-test-address"] ?? "none"),
    });
    const statuses = [];
    for (const address of ["10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2", "2001:db8::3"])
      statuses.push(await upgrade(url, { "x-test-address": address }));
    expect(statuses).toEqual([101, 101, 429, 101, 101, 101, 429]);
  });

  it("authenticated by one user in a minute is limited, even when each connection is closed at once", async () => {
    const { url, token, sockets } = await startRealtime({ maxUserConnectsPerMinute: 3 });
    for (let count = 0; count < 3; count++) {
      const client = await connect(url, token("alice"));
      client.ws.close();
      await client.closed;
    }
    const fourth = await new TestClient(url).opened();
    fourth.send({ type: "auth", token: token("alice") });
    expect(await fourth.next("auth_error")).toMatchObject({ code: 4207, error: expect.stringContaining("3") });
    expect((await fourth.closed).code).toBe(4207);
    await connect(url, token("bob"));
    expect(sockets.stats().closes).toMatchObject({ 4207: 1 });
  });
});

describe("an upgrade from a page", () => {
  it.each([
    ["of the server itself", (host: string) => `http://${host}`, 101],
    ["of an allowed origin", () => "https://sky.example.org", 101],
    ["of another origin", () => "https://evil.example.org", 403],
    ["of an opaque origin", () => "null", 403],
  ])("%s is answered according to its origin", async (_, origin, status) => {
    const { url } = await startRealtime({ allowedOrigins: ["https://sky.example.org"] });
    expect(await upgrade(url, { origin: origin(new URL(url).host) })).toBe(status);
  });
});

describe("the heartbeat", () => {
  it("pings by WebSocket and by message, and closes the connection after two unanswered pings", async () => {
    const { url, token } = await startRealtime({ pingIntervalMs: 60 });
    const client = await new TestClient(url, { autoPong: false }).opened();
    let pings = 0;
    // The first ping is due only after authentication.
    client.ws.on("ping", () => pings++);
    client.send({ type: "auth", token: token() });
    await client.next("auth_success");
    expect((await client.closed).code).toBe(4209);
    expect(pings).toBe(2);
    expect(client.messages.filter(({ type }) => type === "ping")).toHaveLength(2);
  });

  it.each([
    ["back", -14],
    ["ahead", 2],
  ])("continues, and closes no connection, when the system clock is set %s", async (_, days) => {
    const { url, token } = await startRealtime({ pingIntervalMs: 200 });
    const client = await connect(url, token("alice", undefined, 10 * 86_400));
    const stranger = await new TestClient(url).opened();
    await client.next("ping");
    const before = client.messages.length;
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + days * 86_400_000 });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    await vi.waitFor(() =>
      expect(client.messages.slice(before).filter(({ type }) => type === "ping").length).toBeGreaterThan(2),
    );
    stranger.send({ type: "auth", token: token("bob", undefined, 600) });
    await stranger.next("auth_success");
  });

  it.each(["a WebSocket pong", "a pong message"])("accepts %s as an answer", async (answer) => {
    const { url, token, sockets } = await startRealtime({ pingIntervalMs: 100 });
    const client = await connect(url, token(), { autoPong: answer === "a WebSocket pong" });
    for (let count = 0; count < 8; count++) {
      await client.next("ping");
      if (answer === "a pong message") client.send({ type: "pong" });
    }
    expect(sockets.stats()).toMatchObject({ connections: 1, healthy: 1 });
  });
});

it("the server lists each connection with its user, its times and its channels", async () => {
  const { url, token, sockets } = await startRealtime();
  const client = await connect(url, token("alice"));
  await client.subscribe("dashboard");
  const [info, ...others] = sockets.connections();
  expect(others).toEqual([]);
  expect(info).toMatchObject({
    ...{ user_id: "alice", ip_address: "127.0.0.1", channels: ["dashboard"], lagging: false, queued_bytes: 0 },
    connected_at: expect.stringMatching(/Z$/),
    last_seen: expect.stringMatching(/Z$/),
  });
  expect(sockets.closeConnection("no such")).toBe(false);
  expect(sockets.closeConnection(info?.connection_id ?? "")).toBe(true);
  expect((await client.closed).code).toBe(4005);
});

it("the server cleans up after a lost connection", async () => {
  const { url, token, sockets, event } = await startRealtime();
  const client = await connect(url, token());
  await client.subscribe("dashboard");
  client.ws.terminate();
  await expect.poll(() => sockets.stats()).toMatchObject({ connections: 0, users: 0, fanOut: { groups: 0 } });
  await event("north", 1);
  expect(sockets.channelCounts()).toEqual({});
});

describe("stopping", () => {
  it("closes every connection, refuses new connections, and does not wait for clients that do not answer", async () => {
    const { url, token, sockets } = await startRealtime();
    const client = await connect(url, token("alice"));
    const silent = await connect(url, token("bob"));
    silent.ws.pause();
    const unauthenticated = await new TestClient(url).opened();
    const startedAt = performance.now();
    const stopping = sockets.stop();
    expect(sockets.stop()).toBe(stopping);
    expect(await upgrade(url)).toBe(503);
    await stopping;
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    expect((await client.closed).code).toBe(4200);
    expect((await unauthenticated.closed).code).toBe(4200);
    expect(sockets.stats()).toMatchObject({ connections: 0, unauthenticated: 0, closes: { 4200: 3 } });
  });

  it("is immediate without connections", async () => {
    const { sockets } = await startRealtime();
    await sockets.stop();
    expect(sockets.stats().closes).toEqual({});
  });
});

it("the server answers an invalid upgrade request with an HTTP error", async () => {
  const { url, sockets } = await startRealtime();
  const socket = connectTcp(Number(new URL(url).port), "127.0.0.1");
  socket.write("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  const answer = await new Promise<string>((resolve) => {
    let text = "";
    socket.on("data", (chunk) => {
      text += String(chunk);
    });
    socket.on("close", () => resolve(text));
  });
  expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  expect(sockets.stats()).toMatchObject({ connections: 0, unauthenticated: 0 });
});

describe("a connection register that answers late", () => {
  /** A register that answers no request before the test calls `admit`. */
  function lateRegister(limit = 5) {
    const register = new LocalRegister();
    let admit = () => {};
    const admitted = new Promise<void>((resolve) => {
      admit = resolve;
    });
    return {
      admit: () => admit(),
      register,
      enter: async (userId: string, connectionId: string) => {
        await admitted;
        return await register.enter(userId, connectionId, limit);
      },
    };
  }

  it("delays authentication, and messages that the client sent meanwhile are answered in order", async () => {
    const late = lateRegister();
    const realtime = await startRealtime({ register: late });
    const client = await new TestClient(realtime.url).opened();
    client.send({ type: "auth", token: realtime.token(), id: 1 });
    client.send({ type: "subscribe", channel: "dashboard", id: 2 });
    client.send({ type: "ping", id: 3 });
    await vi.waitUntil(() => realtime.sockets.stats().unauthenticated === 1);
    expect(client.messages).toEqual([]);
    late.admit();
    await client.next("pong");
    expect(client.messages.slice(0, 3).map(({ type }) => type)).toEqual([
      "auth_success",
      "subscription_result",
      "pong",
    ]);
  });

  it("allows the client 32 messages meanwhile", async () => {
    const realtime = await startRealtime({ register: lateRegister() });
    const client = await new TestClient(realtime.url).opened();
    client.send({ type: "auth", token: realtime.token() });
    for (let index = 0; index < 33; index++) client.send({ type: "ping" });
    expect((await client.closed).code).toBe(4003);
  });

  it("does not count a client that has disconnected meanwhile", async () => {
    const late = lateRegister();
    const realtime = await startRealtime({ register: late });
    const client = await new TestClient(realtime.url).opened();
    client.send({ type: "auth", token: realtime.token() });
    await vi.waitUntil(() => realtime.sockets.stats().unauthenticated === 1);
    client.ws.terminate();
    await vi.waitUntil(() => realtime.sockets.stats().unauthenticated === 0);
    late.admit();
    await vi.waitFor(() => expect(late.register.size).toBe(0));
    expect(realtime.sockets.stats().connections).toBe(0);
  });

  it("does not extend the authentication timeout", async () => {
    const realtime = await startRealtime({ register: lateRegister(), authTimeoutMs: 100 });
    const client = await new TestClient(realtime.url).opened();
    client.send({ type: "auth", token: realtime.token() });
    expect((await client.closed).code).toBe(4001);
  });
});

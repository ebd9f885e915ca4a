import { afterEach, describe, expect, it, vi } from "vitest";
import { Heartbeat } from "../../dashboard-client/heartbeat.ts";
import { connect, serve, until, untilConnected } from "./support/harness.ts";

describe("the heartbeat", () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it("takes a server for dead that was silent for two of its ping intervals and the grace", async () => {
    const server = await serve();
    server.script.pingInterval = 0.03;
    const { client } = connect(server.url, { heartbeatGraceMs: 20 });
    await untilConnected(client);
    const since = Date.now();
    const connection = await server.connection(0);
    await until(() => client.state.status === "connecting");
    expect(Date.now() - since).toBeGreaterThanOrEqual(60);
    expect(client.state).toMatchObject({ cause: { code: 1006, reason: expect.stringContaining("nothing heard") } });
    await connection.closed;
    await server.connection(1);
  });

  it("lives as long as anything is heard, and answers pings", async () => {
    const server = await serve();
    server.script.pingInterval = 0.05;
    const { client } = connect(server.url, { heartbeatGraceMs: 50 });
    await untilConnected(client);
    const connection = await server.connection(0);
    const pings = setInterval(() => connection.send({ type: "ping", position: 1 }), 20);
    try {
      await until(() => connection.received.filter(({ type }) => type === "pong").length >= 15);
    } finally {
      clearInterval(pings);
    }
    expect(client.state.status).toBe("connected");
    expect(server.connections).toHaveLength(1);
    expect(client.heardAt).toBeGreaterThan(0);
  });

  it("watches nothing where the server announces no pings", async () => {
    const server = await serve();
    server.script.pingInterval = 0;
    const quiet = connect(server.url, { heartbeatGraceMs: 5 }).client;
    await untilConnected(quiet);
    server.script.pingInterval = 0.01;
    const watched = connect(server.url, { heartbeatGraceMs: 5 }).client;
    await until(() => watched.state.status === "connecting");
    expect(quiet.state.status).toBe("connected");
  });

  describe("when the page wakes or the network is said to be gone", () => {
    const makePage = () => ({
      window: new EventTarget(),
      document: Object.assign(new EventTarget(), { visibilityState: "visible" }),
    });

    it("asks for a sign of life, and stays when there is one", async () => {
      const server = await serve();
      const page = makePage();
      const { client } = connect(server.url, { page });
      await untilConnected(client);
      expect(client.latencyMs).toBeUndefined();
      page.window.dispatchEvent(new Event("offline"));
      await until(() => client.latencyMs !== undefined);
      expect(client.state.status).toBe("connected");
    });

    it("connects anew when there is none, sooner than by the server's pings", async () => {
      const server = await serve();
      server.script.ping = () => {};
      const page = makePage();
      const { client } = connect(server.url, { page, heartbeatGraceMs: 40 });
      await untilConnected(client);
      page.document.dispatchEvent(new Event("visibilitychange"));
      const again = await server.connection(1);
      await untilConnected(client);
      expect(again.received[0]).toMatchObject({ type: "auth" });
    });

    it("takes what was heard before it asked for no sign, though it was in the same millisecond", () => {
      vi.useFakeTimers();
      const silences: number[] = [];
      const heartbeat = new Heartbeat({
        nextId: () => 1,
        sendPing: () => {},
        onDead: (silentMs) => silences.push(silentMs),
        onLatency: () => {},
        latencyIntervalMs: 0,
        graceMs: 40,
      });
      heartbeat.start(0);
      heartbeat.heard();
      heartbeat.probe();
      vi.advanceTimersByTime(40);
      expect(silences).toEqual([40]);
      heartbeat.probe();
      heartbeat.heard();
      vi.advanceTimersByTime(40);
      expect(silences).toEqual([40]);
    });
  });

  it("measures the latency with its own pings", async () => {
    const server = await serve();
    server.script.ping = (connection, { id }) => {
      connection.send({ type: "pong", id: 999_999 });
      setTimeout(() => connection.send({ type: "pong", id }), 15);
    };
    const measured: number[] = [];
    const { client } = connect(server.url, { latencyIntervalMs: 30 });
    client.onLatency((latencyMs) => measured.push(latencyMs));
    await until(() => measured.length === 2);
    expect(Math.min(...measured)).toBeGreaterThanOrEqual(14);
    expect(client.latencyMs).toBe(measured[1]);
    server.connections[0]?.cut();
    await until(() => client.state.status !== "connected");
    expect(client.latencyMs).toBeUndefined();
  });
});

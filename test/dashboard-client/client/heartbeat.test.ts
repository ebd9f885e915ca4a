import { afterEach, describe, expect, it, vi } from "vitest";
import { Heartbeat } from "../../../dashboard-client/client/heartbeat.ts";
import { connect, serve, until, untilConnected } from "../support/harness.ts";

/** A heartbeat without a connection. `silences` lists the silences after which it reported the connection as dead. */
function heartbeatWith(graceMs: number): { heartbeat: Heartbeat; silences: readonly number[] } {
  const silences: number[] = [];
  const heartbeat = new Heartbeat({
    nextId: () => 1,
    sendPing: () => {},
    onDead: (silentMs) => silences.push(silentMs),
    onLatency: () => {},
    latencyIntervalMs: 0,
    graceMs,
  });
  return { heartbeat, silences };
}

describe("the heartbeat", () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it("drops the connection after a silence of two ping intervals plus the grace period", async () => {
    const server = await serve();
    server.script.pingInterval = 0.03;
    let since = 0;
    server.script.auth = (connection) => {
      // After this answer, the server sends no further message on the first connection.
      if (since === 0) since = Date.now();
      server.welcome(connection);
    };
    const { client } = connect(server.url, { heartbeatGraceMs: 20 });
    // The state is recorded at once, because the client reconnects soon.
    const losses: { afterMs: number; state: unknown }[] = [];
    client.onState((state) => {
      if (state.status === "connecting" && state.cause !== undefined)
        losses.push({ afterMs: Date.now() - since, state });
    });
    const connection = await server.connection(0);
    await until(() => losses.length > 0);
    expect(losses[0]?.afterMs).toBeGreaterThanOrEqual(80);
    expect(losses[0]?.state).toMatchObject({ cause: { code: 1006, reason: expect.stringContaining("was silent") } });
    await connection.closed;
    await server.connection(1);
  });

  it("accepts any message of the server as a heartbeat", () => {
    vi.useFakeTimers();
    const { heartbeat, silences } = heartbeatWith(50);
    heartbeat.start(50);
    for (let times = 0; times < 20; times++) {
      vi.advanceTimersByTime(149);
      heartbeat.heard();
    }
    expect(silences).toEqual([]);
    vi.advanceTimersByTime(149);
    expect(silences).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(silences).toEqual([150]);
  });

  it("answers pings", async () => {
    const server = await serve();
    const { client } = connect(server.url);
    await untilConnected(client);
    const connection = await server.connection(0);
    for (let position = 1; position <= 15; position++) connection.send({ type: "ping", position });
    await until(() => connection.received.filter(({ type }) => type === "pong").length === 15);
    expect(client.state.status).toBe("connected");
    expect(server.connections).toHaveLength(1);
    expect(client.heardAt).toBeGreaterThan(0);
  });

  it("allows any silence if the server announces no pings", async () => {
    const server = await serve();
    server.script.pingInterval = 0;
    const quiet = connect(server.url, { heartbeatGraceMs: 5 }).client;
    await untilConnected(quiet);
    server.script.pingInterval = 0.01;
    connect(server.url, { heartbeatGraceMs: 5 });
    // The connection with pings reconnects.
    await server.connection(2);
    expect(quiet.state.status).toBe("connected");
  });

  describe("when the page becomes visible or the browser reports a lost network", () => {
    const makePage = () => ({
      window: new EventTarget(),
      document: Object.assign(new EventTarget(), { visibilityState: "visible" }),
    });

    it("sends a probe, and stays connected if the server answers", async () => {
      const server = await serve();
      const page = makePage();
      const { client } = connect(server.url, { page });
      await untilConnected(client);
      expect(client.latencyMs).toBeUndefined();
      page.window.dispatchEvent(new Event("offline"));
      await until(() => client.latencyMs !== undefined);
      expect(client.state.status).toBe("connected");
    });

    it("reconnects if the probe is not answered, without waiting for the longer limit on silence", async () => {
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

    it("does not accept a message from before the probe as the answer, even in the same millisecond", () => {
      vi.useFakeTimers();
      const { heartbeat, silences } = heartbeatWith(40);
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
    await until(() => measured.length >= 2);
    expect(Math.min(...measured)).toBeGreaterThanOrEqual(14);
    expect(client.latencyMs).toBe(measured.at(-1));
    server.connections[0]?.cut();
    await until(() => client.state.status !== "connected");
    expect(client.latencyMs).toBeUndefined();
  });
});

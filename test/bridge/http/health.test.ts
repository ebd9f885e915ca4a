import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";

let bridge: TestBridge;
let failure: string | undefined;

/** A journal that is unavailable while `failure` is set. */
function failing(journal: Journal): Journal {
  return new Proxy(journal, {
    get(target, name) {
      if (name === "unavailableReason") return failure;
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

beforeAll(async () => {
  bridge = await startTestBridge({ journal: failing });
});
afterAll(() => bridge.stop());

describe("GET /health", () => {
  it("has the predecessor's fields and no details", async () => {
    const socket = await bridge.connect("dashboard:read");
    const { status, body } = await bridge.call("/health");
    expect(status).toBe(200);
    expect(body).toEqual({
      status: "healthy",
      timestamp: expect.stringMatching(/^\d{4}-.*Z$/),
      version: "1.2.3",
      connections: 1,
      healthy_connections: 1,
    });
    const closed = once(socket, "close");
    socket.close();
    await closed;
    await vi.waitFor(async () => expect((await bridge.call("/health")).body.connections).toBe(0));
  });
});

describe("GET /livez and /readyz", () => {
  it("respond 200 while everything works", async () => {
    expect((await bridge.call("/livez")).body).toEqual({ status: "alive" });
    expect(await bridge.call("/readyz")).toMatchObject({ status: 200, body: { status: "ready" } });
  });

  it("distinguish a store that accepts no writes from a dead server", async () => {
    failure = "the disk is full";
    expect(await bridge.call("/readyz")).toMatchObject({
      status: 503,
      body: { status: "not ready", reason: "the disk is full" },
    });
    expect((await bridge.call("/livez")).status).toBe(200);
    expect((await bridge.call("/health")).body.status).toBe("degraded");
    failure = undefined;
    expect((await bridge.call("/readyz")).status).toBe(200);
  });

  it("have no rate limit", async () => {
    expect((await bridge.call("/livez")).headers).not.toHaveProperty("x-ratelimit-limit");
    expect((await bridge.call("/readyz")).headers).not.toHaveProperty("x-ratelimit-limit");
  });
});

describe("GET /stats", () => {
  it("has the predecessor's fields, the node's metrics and the totals", async () => {
    const socket = await bridge.connect("dashboard:read", "jobs:read");
    const subscribed = once(socket, "message");
    socket.send(JSON.stringify({ type: "subscribe", channel: "jobs" }));
    await subscribed;
    const { body } = await bridge.call("/stats");
    expect(body).toMatchObject({
      total_connections: 1,
      healthy_connections: 1,
      channels: { jobs: 1 },
      connection_details: [
        {
          connection_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
          user_id: "alice",
          connected_at: expect.stringMatching(/Z$/),
          ip_address: "127.0.0.1",
          last_seen: expect.stringMatching(/Z$/),
        },
      ],
      version: "1.2.3",
      node: { uptime_seconds: expect.any(Number), journal: { epoch: bridge.journal.epoch } },
      totals: { starts: 1, counts: { events: expect.any(Number) } },
    });
    const closed = once(socket, "close");
    socket.close();
    await closed;
  });

  it("needs system:read or the operator key, except from this machine, because the response names users", async () => {
    const elsewhere = { "x-forwarded-for": "203.0.113.7" };
    expect((await bridge.call("/stats", { headers: elsewhere })).status).toBe(401);
    expect((await bridge.call("/stats", { token: bridge.mint("dashboard:read") })).status).toBe(403);
    expect((await bridge.call("/stats", { headers: elsewhere, token: bridge.mint("system:read") })).status).toBe(200);
    expect((await bridge.call("/stats", { headers: elsewhere, token: OPERATOR_KEY })).status).toBe(200);
  });
});

describe("the totals", () => {
  it("continue after a restart", async () => {
    const dataPath = await mkdtemp(join(tmpdir(), "bridge-"));
    try {
      const first = await startTestBridge({ dataPath });
      await first.call("/broadcast", { method: "POST", body: { event: "a.b" } });
      await first.call("/auth/token", { method: "POST", body: { user_id: "alice", permissions: [] } });
      await first.stop();
      const second = await startTestBridge({ dataPath });
      await second.call("/broadcast", { method: "POST", body: { event: "a.b" } });
      const { totals } = (await second.call("/stats")).body;
      await second.stop();
      expect(totals).toMatchObject({ starts: 2, counts: { broadcasts: 2, tokens_minted: 1 } });
    } finally {
      await rm(dataPath, { recursive: true });
    }
  });
});

describe("stopping", () => {
  it("closes sockets with 4200, frees the port, and is idempotent", async () => {
    const stopped = await startTestBridge();
    const socket = await stopped.connect("dashboard:read");
    const closed = once(socket, "close");
    const startedAt = performance.now();
    await Promise.all([stopped.stop(), stopped.stop()]);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    expect((await closed)[0]).toBe(4200);
    const taker = createServer().listen(stopped.port, "127.0.0.1");
    await once(taker, "listening");
    await new Promise((resolve) => taker.close(resolve));
  });

  it("is not delayed by a request that never ends", async () => {
    const stopped = await startTestBridge();
    stopped.link.connections.add("device:north");
    const hanging = stopped.call("/cameras/north/commands?wait=60", {
      method: "POST",
      body: { name: "reboot", expires_in: 60 },
      token: stopped.mint("admin"),
    });
    await vi.waitUntil(() => stopped.link.publications.some(({ topic }) => topic.includes("/commands/")));
    await stopped.stop();
    expect((await hanging).body.status).toBe("timed_out");
  });

  it("is not needed after a failed start (port in use), because nothing is left running", async () => {
    const taken = startTestBridge({ env: { WS_PORT: String(bridge.port) } });
    await expect(taken).rejects.toThrow(`WS_PORT: port ${bridge.port} of 127.0.0.1 is in use`);
  });
});

import { once } from "node:events";
import { connect } from "node:net";
import { connectAsync } from "mqtt";
import { afterEach, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { connectDashboard, JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import { startRunningClock } from "../support/running-clock.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
const cleanUps: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function start(env: Record<string, string> = {}): Promise<Skylapse> {
  const dataPath = makeDataPath();
  cleanUps.push(() => removeDataPath(dataPath));
  const limits = { MAX_CONNECTIONS_PER_ADDRESS: "0", MAX_CONNECTIONS_PER_USER: "0" };
  const skylapse = await startSkylapse({ dataPath, env: { JWT_SECRET, OPERATOR_KEY, ...limits, ...env } });
  cleanUps.push(() => skylapse.end("SIGKILL"));
  return skylapse;
}

/** The HTTP status of a refused upgrade, or "refused" when nothing listens. */
async function upgradeStatus(url: string): Promise<number | "open" | "refused"> {
  const socket = new WebSocket(url);
  try {
    return await Promise.race([
      once(socket, "open").then(() => "open" as const),
      new Promise<number | "refused">((resolve) => {
        socket.on("unexpected-response", (_request, response) => resolve(response.statusCode ?? 0));
        socket.on("error", () => resolve("refused"));
      }),
    ]);
  } finally {
    socket.on("error", () => {});
    socket.terminate();
  }
}

describe("SIGTERM", () => {
  it("closes 600 dashboards with close code 4200, spread over time, refuses new dashboards meanwhile, and ends in exit code 0", async () => {
    const skylapse = await start({ SHUTDOWN_SPREAD_MS: "5000" });
    const token = signToken("alice", ["dashboard:read"]);
    const dashboards = await Promise.all(Array.from({ length: 600 }, () => connectDashboard(skylapse.socket)));
    for (const dashboard of dashboards) dashboard.send({ type: "auth", token });
    await Promise.all(dashboards.map((dashboard) => dashboard.next("auth_success")));

    const elapsedMs = startRunningClock();
    const ended = skylapse.end("SIGTERM");
    const closes = dashboards.map(async ({ closed }) => ({ code: await closed, at: elapsedMs() }));
    await Promise.race(closes);
    const readyz = await fetch(`${skylapse.http}/readyz`);
    expect([readyz.status, (await readyz.json()).reason]).toEqual([503, "the server is stopping"]);
    expect(await upgradeStatus(skylapse.socket)).toBe(503);
    await expect(connectAsync(skylapse.mqtt, { reconnectPeriod: 0 })).rejects.toThrow("ECONNREFUSED");

    const closed = await Promise.all(closes);
    expect(new Set(closed.map(({ code }) => code))).toEqual(new Set([4200]));
    const at = closed.map((close) => close.at).sort((one, other) => one - other);
    expect((at.at(-1) ?? 0) - (at[0] ?? 0)).toBeGreaterThan(300);
    expect(await ended).toBe(0);
    expect(elapsedMs()).toBeLessThan(20_000);
  });

  it("loses no publication that the server acknowledges", async () => {
    const skylapse = await start();
    const token = signToken("writer", ["admin"]);
    const publisher = await connectAsync(skylapse.mqtt, { username: "x", password: token, reconnectPeriod: 0 });
    publisher.on("error", () => {});
    const acknowledged: number[] = [];
    const publishing = Array.from({ length: 2_000 }, (_, n) =>
      publisher
        .publishAsync("skylapse/v1/cameras/north/events/capture.completed", JSON.stringify({ n }), { qos: 1 })
        .then(
          () => acknowledged.push(n),
          () => {},
        ),
    );
    await Promise.race(publishing);
    const ended = skylapse.end("SIGTERM");
    expect(await ended).toBe(0);
    await publisher.endAsync(true);
    await Promise.allSettled(publishing);

    const again = await startSkylapse({ dataPath: skylapse.dataPath, env: { JWT_SECRET, OPERATOR_KEY } });
    cleanUps.push(() => again.end("SIGKILL"));
    const dashboard = await connectDashboard(again.socket);
    dashboard.send({ type: "auth", token: signToken("alice", ["camera:read"]) });
    await dashboard.next("auth_success");
    const headers = { authorization: `Bearer ${OPERATOR_KEY}` };
    const stats = await (await fetch(`${again.http}/stats`, { headers })).json();
    const since = { epoch: stats.node.journal.epoch, position: 0 };
    dashboard.send({ type: "subscribe", channel: "camera:north", since });
    await dashboard.next("caught_up");
    const kept = new Set<unknown>();
    for (const message of dashboard.messages)
      if (message.type === "dashboard_event" && message.event === "capture.completed")
        kept.add(JSON.parse(JSON.stringify(message.data)).n);
    expect(acknowledged.length).toBeGreaterThan(0);
    expect(acknowledged.filter((n) => !kept.has(n))).toEqual([]);
  });

  it("ends the server at once when it is sent twice", async () => {
    const skylapse = await start({ SHUTDOWN_SPREAD_MS: "60000" });
    // Both a client that does not answer the close frame and an endless request delay the stop.
    const dashboard = await openDashboard(skylapse.socket, signToken("alice", ["dashboard:read"]));
    dashboard.socket.pause();
    const request = connect(Number(new URL(skylapse.http).port), "127.0.0.1").on("error", () => {});
    cleanUps.push(() => request.destroy());
    request.write("POST /broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{");
    const ended = once(skylapse.process, "exit");
    skylapse.process.kill("SIGTERM");
    const elapsedMs = startRunningClock();
    // Sends the signal repeatedly, because a second signal takes effect only 0.3 s after the first signal.
    const again = setInterval(() => skylapse.process.kill("SIGTERM"), 20);
    const [code] = await ended;
    clearInterval(again);
    dashboard.socket.terminate();
    // Without the second signal, the server exits with 0, or with 1 after a minute.
    expect(code).toBe(1);
    expect(elapsedMs()).toBeLessThan(10_000);
  });
});

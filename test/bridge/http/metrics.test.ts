import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestBridge, type TestBridge } from "../support/test-bridge.ts";

const METRICS_TOKEN = "token-of-prometheus";
let bridge: TestBridge;

beforeAll(async () => {
  bridge = await startTestBridge({ env: { METRICS_TOKEN, METRICS_PORT: "0" }, simulated: [] });
});
afterAll(() => bridge.stop());

async function metric(series: string): Promise<number> {
  const { text } = await bridge.call("/metrics", { token: METRICS_TOKEN });
  const line = text.split("\n").find((candidate) => candidate.startsWith(`${series} `));
  return line === undefined ? 0 : Number(line.slice(series.length + 1));
}

describe("GET /metrics", () => {
  it("needs METRICS_TOKEN or system:read", async () => {
    expect((await bridge.call("/metrics")).status).toBe(401);
    expect((await bridge.call("/metrics", { token: "another-token-altogether" })).status).toBe(401);
    expect((await bridge.call("/metrics", { token: bridge.mint("dashboard:read") })).status).toBe(403);
    expect((await bridge.call("/metrics", { token: bridge.mint("system:read") })).status).toBe(200);
    const { status, headers } = await bridge.call("/metrics", { token: METRICS_TOKEN });
    expect(status).toBe(200);
    expect(headers["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8");
  });

  it("does not accept METRICS_TOKEN at other routes", async () => {
    expect((await bridge.call("/stats", { token: METRICS_TOKEN })).status).toBe(401);
  });

  it("counts events, and measures their way from the camera through the journal to the sockets", async () => {
    const [accepted, appended] = ["skylapse_events_accepted_total", "skylapse_journal_append_seconds_count"] as const;
    const before = await metric(accepted);
    const socket = await bridge.connect("dashboard:read");
    const received = new Promise<void>((resolve) => {
      socket.on("message", (data) => {
        if (String(data).includes("capture.complete")) resolve();
      });
    });
    socket.send(JSON.stringify({ type: "subscribe", channel: "dashboard" }));
    await new Promise((resolve) => socket.once("message", resolve));
    const payload = {
      v: 1,
      event: "capture.complete",
      data: {},
      timestamp: new Date(Date.now() - 2_000).toISOString(),
      id: "1",
    };
    await bridge.say("cameras/north/events/capture.complete", payload);
    await received;
    expect(await metric(accepted)).toBeGreaterThan(before);
    expect(await metric(appended)).toBeGreaterThan(0);
    expect(await metric("skylapse_event_journal_to_socket_seconds_count")).toBeGreaterThan(0);
    expect(await metric('skylapse_event_camera_to_server_seconds_bucket{le="1"}')).toBe(0);
    expect(await metric("skylapse_event_camera_to_server_seconds_count")).toBe(1);
    expect(await metric("skylapse_websocket_connections")).toBe(1);
    socket.close();
  });

  it("labels requests with their route, and requests for unknown paths with the route `none`", async () => {
    await bridge.call("/cameras/north");
    await bridge.call("/a/path/of/a/stranger");
    const { text } = await bridge.call("/metrics", { token: METRICS_TOKEN });
    expect(text).toContain('method="GET",route="/cameras/:id",status="401"');
    expect(text).toContain('method="GET",route="none",status="404"');
    expect(text).not.toContain("stranger");
  });
});

describe("METRICS_PORT", () => {
  it("answers /metrics and nothing else, with METRICS_TOKEN", async () => {
    const url = `http://127.0.0.1:${bridge.metricsPort}`;
    const headers = { authorization: `Bearer ${METRICS_TOKEN}` };
    expect((await fetch(`${url}/metrics`)).status).toBe(401);
    expect((await fetch(`${url}/health`, { headers })).status).toBe(404);
    expect((await fetch(`${url}/metrics`, { method: "POST", headers })).status).toBe(405);
    const answer = await fetch(`${url}/metrics`, { headers });
    expect(await answer.text()).toContain('skylapse_info{version="1.2.3"} 1');
  });

  it("must have a token if other machines can reach it", async () => {
    const env = { METRICS_PORT: "0", METRICS_HOST: "0.0.0.0" };
    await expect(startTestBridge({ env })).rejects.toThrow("METRICS_TOKEN: must be set when METRICS_HOST");
  });
});

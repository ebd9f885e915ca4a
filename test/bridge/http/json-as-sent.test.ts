import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { WebSocket } from "ws";
import type { LoggedPublication } from "../../../platform/publication-log.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";

/** Numbers that a double cannot hold: parsed and serialized, they become 12345678901234567000 and null. */
const DATA = '{"serial":12345678901234567890,"far":1e400,"exact":0.10000000000000000555}';

let bridge: TestBridge;
let socket: WebSocket;
const frames: string[] = [];

beforeAll(async () => {
  bridge = await startTestBridge();
  socket = await bridge.connect("dashboard:read");
  socket.on("message", (message) => frames.push(String(message)));
  socket.send(JSON.stringify({ type: "subscribe", channel: "dashboard" }));
  await vi.waitFor(() => expect(frames.join()).toContain("caught_up"));
});
afterAll(async () => {
  socket.terminate();
  await bridge.stop();
});

const frameOf = async (event: string) => {
  await expect.poll(() => frames.find((frame) => frame.includes(`"event":"${event}"`))).toBeDefined();
  return frames.find((frame) => frame.includes(`"event":"${event}"`));
};

describe("numbers that a double cannot hold", () => {
  it("reach dashboards unchanged from a camera without envelopes", async () => {
    await bridge.say("cameras/north/events/serial.read", Buffer.from(DATA));
    expect(await frameOf("serial.read")).toContain(`"data":${DATA}`);
  });

  it("reach dashboards unchanged in an envelope whose names have escapes", async () => {
    const rest = '"v":1,"id":"e1","timestamp":"2026-03-01T05:00:00Z","event":"escaped.read"';
    await bridge.say("cameras/north/events/escaped.read", Buffer.from(`{${rest},"d\\u0061ta":${DATA}}`));
    expect(await frameOf("escaped.read")).toContain(`"data":${DATA}`);
  });

  it("are unchanged in GET /cameras and GET /cameras/{id}", async () => {
    await bridge.say("cameras/north/state/serial", Buffer.from(DATA), true);
    for (const path of ["/cameras", "/cameras/north"])
      expect((await bridge.call(path, { token: OPERATOR_KEY })).text).toContain(`"data":${DATA}`);
  });

  it.each([
    ["wrapped", `{"channel":"dashboard","message":{"event":"hut.wrapped","data":${DATA}}}`, "hut.wrapped"],
    ["bare", `{"event":"hut.bare","data":${DATA}}`, "hut.bare"],
  ])("in a %s broadcast reach dashboards and MQTT clients unchanged", async (_, body, event) => {
    const published: LoggedPublication[] = [];
    bridge.journal.mqtt.publications.follow((publications) => published.push(...publications));
    expect((await bridge.call("/broadcast", { method: "POST", body, token: OPERATOR_KEY })).status).toBe(200);
    expect(await frameOf(event)).toContain(`"data":${DATA}`);
    const sent = published.find(({ topic }) => topic.endsWith(`/events/${event}`));
    expect(String(sent?.payload)).toContain(`"data":${DATA}`);
  });
});

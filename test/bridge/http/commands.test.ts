import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { startTestBridge, type TestBridge } from "../support/test-bridge.ts";

let bridge: TestBridge;

beforeAll(async () => {
  bridge = await startTestBridge({ env: { MAX_COMMANDS_PER_MINUTE: "0", MAX_COMMANDS_PER_CAMERA: "1" } });
});
afterAll(() => bridge.stop());
beforeEach(() => {
  bridge.link.connections.add("device:north");
});

function command(body: unknown, { camera = "north", token = bridge.mint("camera:control"), query = "" } = {}) {
  return bridge.call(`/cameras/${camera}/commands${query}`, { method: "POST", body, token });
}

/** Waits for the next command at the camera and replies to it. */
async function answer(status: string, more: object = {}): Promise<void> {
  const commands = () => bridge.link.publications.filter(({ topic }) => topic.includes("/commands/"));
  const before = commands().length;
  const { topic, payload } = await vi.waitUntil(() => commands()[before]);
  const name = topic.slice(topic.lastIndexOf("/") + 1);
  const command_id = JSON.parse(String(payload)).id;
  await bridge.say(`cameras/north/replies/${name}`, { command_id, status, ...more });
}

describe("POST /cameras/{id}/commands", () => {
  it("responds with the final status and result", async () => {
    const [{ status, body }] = await Promise.all([
      command({ name: "capture.now" }),
      answer("succeeded", { result: { capture: "c1" } }),
    ]);
    expect([status, body]).toEqual([
      200,
      { command_id: expect.any(String), camera: "north", status: "succeeded", result: { capture: "c1" } },
    ]);
  });

  it("responds with a rejection by the camera", async () => {
    const [{ status, body }] = await Promise.all([command({ name: "heater.on" }), answer("rejected")]);
    expect([status, body.status, body.code]).toEqual([200, "rejected", 122]);
  });

  it("responds 202 with the current status after the wait, and continues the command", async () => {
    const before = bridge.link.publications.length;
    const { status, body } = await command({ name: "reboot" }, { query: "?wait=0" });
    expect([status, body.status]).toEqual([202, "sent"]);
    expect(bridge.link.publications.length).toBe(before + 1);
    const waiting = await command({ name: "reboot" }, { query: "?wait=0" });
    expect([waiting.status, waiting.body]).toEqual([202, { camera: "north", status: "queued" }]);
    const beyond = await command({ name: "reboot" });
    expect([beyond.status, beyond.body.error.code]).toEqual([429, "limit"]);
    const reply = { command_id: body.command_id, status: "succeeded" };
    await Promise.all([answer("succeeded"), bridge.say("cameras/north/replies/reboot", reply)]);
    const { body: expired } = await vi.waitFor(async () => {
      const said = await command({ name: "reboot", expires_in: 1 }, { query: "?wait=30" });
      expect(said.status).toBe(200);
      return said;
    });
    expect(expired).toMatchObject({ status: "expired", code: 123 });
  });

  it("responds 409 for a camera that is not connected", async () => {
    bridge.link.connections.clear();
    const { status, body } = await command({ name: "capture.now" });
    expect([status, body.error.code]).toEqual([409, "device_offline"]);
  });

  it.each([
    [{}],
    [{ name: "Capture Now" }],
    [{ name: "settings.set", args: { zoom: 3 } }],
    [{ name: "capture.now", expires_in: 0 }],
    [{ name: "capture.now", expires_in: 90_000 }],
    [{ name: "capture.now", args: [] }],
  ])("responds 400 for %j", async (body) => {
    expect((await command(body)).status).toBe(400);
  });

  it("responds 400 for a wait of more than a minute", async () => {
    expect((await command({ name: "capture.now" }, { query: "?wait=61" })).status).toBe(400);
  });

  it("needs the permission to control this camera", async () => {
    const body = { name: "settings.set", args: {} };
    expect((await command(body, { token: bridge.mint("dashboard:read") })).status).toBe(403);
    expect((await command(body, { token: bridge.mint("camera:south:control") })).status).toBe(403);
    expect((await command(body, { token: bridge.mint("camera:north:control") })).status).toBe(400);
    expect((await bridge.call("/cameras/north/commands", { method: "POST", body })).status).toBe(401);
  });

  it("accepts at most MAX_COMMANDS_PER_MINUTE from one address, by default 60", async () => {
    const limited = await startTestBridge({ env: { MAX_COMMANDS_PER_MINUTE: "1" } });
    try {
      const call = () =>
        limited.call("/cameras/north/commands", { method: "POST", body: {}, token: limited.mint("admin") });
      expect([(await call()).status, (await call()).status]).toEqual([400, 429]);
    } finally {
      await limited.stop();
    }
  });
});

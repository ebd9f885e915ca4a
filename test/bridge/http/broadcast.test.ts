import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";

let bridge: TestBridge;
let refusing = false;

/** A journal that behaves on request as on a full disk. */
function refusable(journal: Journal): Journal {
  return new Proxy(journal, {
    get(target, name) {
      if (name === "append" && refusing) return () => Promise.reject(new StoreUnavailableError("disk full"));
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

beforeAll(async () => {
  bridge = await startTestBridge({ journal: refusable });
});
afterAll(() => bridge.stop());

const broadcast = (body: unknown, more: object = {}) => bridge.call("/broadcast", { method: "POST", body, ...more });

describe("POST /broadcast", () => {
  it("reaches every subscriber of the channel and returns their number", async () => {
    const socket = await bridge.connect("dashboard:read");
    const subscribed = once(socket, "message");
    socket.send(JSON.stringify({ type: "subscribe", channel: "dashboard" }));
    await subscribed;
    const event = new Promise((resolve) => {
      socket.on("message", (message) => {
        const frame = JSON.parse(String(message));
        if (frame.event === "hut.opened") resolve(frame);
      });
    });
    const message = {
      type: "dashboard_event",
      event: "hut.opened",
      data: { beds: 12 },
      timestamp: "2024-01-01T00:00:00",
    };
    expect((await broadcast({ channel: "dashboard", message })).body).toEqual({ sent_to: 1, channel: "dashboard" });
    expect(await event).toMatchObject({
      type: "dashboard_event",
      event: "hut.opened",
      data: { beds: 12 },
      channel: "dashboard",
      timestamp: expect.stringMatching(/Z$/),
    });
    const closed = once(socket, "close");
    socket.close();
    await closed;
  });

  it("uses the channel dashboard by default, also without the member `message`", async () => {
    expect((await broadcast({ message: { event: "a.b", data: 1 } })).body.channel).toBe("dashboard");
    expect((await broadcast({ event: "a.b", data: 1 })).body.channel).toBe("dashboard");
  });

  it("reaches the channel of a camera that is registered or has published, and creates no channel", async () => {
    const own = await startTestBridge();
    onTestFinished(() => own.stop());
    const to = (camera: string) =>
      own.call("/broadcast", {
        ...{ method: "POST", token: OPERATOR_KEY, body: { event: "a.b", channel: `camera:${camera}` } },
      });
    expect((await to("never-heard-of")).status).toBe(404);
    await own.authority.devices.set({ id: "registered", kind: "camera", secret: "s".repeat(43) });
    expect((await to("registered")).body).toEqual({ sent_to: 0, channel: "camera:registered" });
    await own.say("cameras/heard-of/events/a.b", {});
    expect((await to("heard-of")).status).toBe(200);
    expect(own.journal.hasChannel("camera:never-heard-of")).toBe(false);
  });

  it("responds once the event is durable", async () => {
    const before = bridge.journal.head;
    await broadcast({ event: "durable.now" });
    expect(bridge.journal.head).toBeGreaterThan(before);
    const { entries } = await bridge.journal.replay({ channels: ["dashboard"], after: before });
    expect(entries.map(({ topic }) => topic)).toContain("skylapse/v1/channels/dashboard/events/durable.now");
  });

  it("responds 503 if the store accepts no writes", async () => {
    refusing = true;
    const { status, body } = await broadcast({ event: "a.b" }).finally(() => {
      refusing = false;
    });
    expect([status, body.error.code]).toEqual([503, "store_unavailable"]);
  });

  it.each(["nowhere", "camera:", "camera:never-heard-of", "dashboard/#", "__proto__", "#"])(
    "responds 404 for the unknown channel %j",
    async (channel) => {
      const { status, body } = await broadcast({ channel, message: { event: "a.b", data: {} } });
      expect([status, body.error.code]).toEqual([404, "unknown_channel"]);
      expect(body.error.message).toContain(channel);
    },
  );

  it.each([
    [{}, "event"],
    [{ event: "With Blanks" }, "event"],
    [{ message: {} }, "message.event"],
    [{ message: "text" }, "message"],
    [{ event: "a.b", channel: 7 }, "channel"],
    [undefined, ""],
  ])("refuses %j", async (body, field) => {
    const { status, body: said } = await broadcast(body);
    expect([status, said.error.details[0].field]).toEqual([400, field]);
  });

  it("needs broadcast:write, the operator key, or a request from this machine", async () => {
    const body = { event: "a.b" };
    expect((await broadcast(body, { token: bridge.mint("dashboard:read") })).status).toBe(403);
    expect((await broadcast(body, { token: bridge.mint("broadcast:write") })).status).toBe(200);
    expect((await broadcast(body, { token: OPERATOR_KEY })).status).toBe(200);
    expect((await broadcast(body, { headers: { origin: "https://evil.example.org" } })).status).toBe(401);
  });

  it("accepts at most MAX_BROADCASTS_PER_MINUTE from one address, by default 6,000", async () => {
    expect((await broadcast({ event: "a.b" })).headers["x-ratelimit-limit"]).toBe("6000");
    const limited = await startTestBridge({ env: { MAX_BROADCASTS_PER_MINUTE: "1" } });
    try {
      const call = () => limited.call("/broadcast", { method: "POST", body: { event: "a.b" } });
      expect([(await call()).status, (await call()).status]).toEqual([200, 429]);
    } finally {
      await limited.stop();
    }
  });
});

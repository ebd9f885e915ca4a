import type { MqttClient } from "mqtt";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { DashboardEvent } from "../../contract/socket-messages.ts";
import { inboxOf } from "../broker/broker-under-test.ts";
import { type Dashboard, openDashboard, signToken } from "../support/dashboard.ts";
import { OPERATOR_KEY, type Program, ROOT, startProgram } from "./mqtt-program.ts";

const MAX_RETAINED = 5;
let program: Program;
let north: MqttClient;
let south: MqttClient;
let dashboard: Dashboard;

beforeAll(async () => {
  program = await startProgram({ MAX_RETAINED_MESSAGES_PER_DEVICE: String(MAX_RETAINED) });
});
afterAll(() => program.stop());
beforeEach(async () => {
  [north, south] = [await program.client("north"), await program.client("south")];
  dashboard = await openDashboard(program.skylapse.socket, signToken("watcher", ["dashboard:read", "alerts:read"]));
  return () => dashboard.close();
});

let count = 0;
const unique = () => `id-${process.pid}-${++count}`;
const topicOf = (camera: string, below: string) => `${ROOT}/cameras/${camera}/${below}`;
const EVENT = "events/capture.completed";

function envelope(fields: Record<string, unknown> = {}): string {
  const required = { v: 1, id: unique(), timestamp: "2026-01-01T00:00:00.000Z", event: "capture.completed" };
  return JSON.stringify({ ...required, data: { n: count }, ...fields });
}

/** Publishes the payload, and then an event that marks the end. @returns the dashboard events before the end */
async function eventsOf(
  client: MqttClient,
  camera: string,
  payload: string | Buffer,
  below = EVENT,
): Promise<DashboardEvent[]> {
  const last = unique();
  const before = dashboard.messages.length;
  await client.publishAsync(topicOf(camera, below), payload, { qos: 1 });
  await client.publishAsync(topicOf(camera, EVENT), envelope({ id: last }), { qos: 1 });
  await dashboard.next("dashboard_event", ({ id }) => id === last);
  return dashboard.messages
    .slice(before)
    .filter((message): message is DashboardEvent => message.type === "dashboard_event")
    .filter(({ id, topic }) => id !== last && topic === `cameras/${camera}/${below}`);
}

async function look(path: string) {
  const answer = await fetch(program.skylapse.http + path, { headers: { authorization: `Bearer ${OPERATOR_KEY}` } });
  expect(answer.status).toBe(200);
  return await answer.json();
}

const nested = (depth: number) => `${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`;
const proto = '{"__proto__":{"admin":true},"constructor":{"prototype":{"admin":true}}}';

describe("a payload becomes an event of its sender, and has no other effect:", () => {
  it.each<[string, string | Buffer, unknown]>([
    ["text", "hello", { text: "hello" }],
    ["a truncated JSON text", '{"v":1,"event":', { text: '{"v":1,"event":' }],
    ["bytes that are not UTF-8", Buffer.from([0xff, 0xfe, 0]), { bytes: 3 }],
    ["33 levels of JSON", nested(33), { text: nested(33) }],
    ["32 levels of JSON", nested(32), JSON.parse(nested(32))],
    ["100,000 levels of arrays", "[".repeat(100_000), { text: "[".repeat(100_000) }],
    ["a number that overflows", "1e999", Number.POSITIVE_INFINITY],
    ["inherited names", proto, JSON.parse(proto)],
    ["an envelope with inherited names in its data", envelope({ data: JSON.parse(proto) }), JSON.parse(proto)],
    ["an envelope of another version", envelope({ v: 2, data: 1 }), expect.objectContaining({ v: 2 })],
  ])("%s", async (_, payload, data) => {
    expect(await eventsOf(north, "north", payload)).toMatchObject([
      { event: "capture.completed", camera: "north", data },
    ]);
  });

  it.each([
    ["id", "__proto__ "],
    ["id", "../../north"],
    ["id", "x".repeat(65)],
    ["id", { toString: "x" }],
    ["event", "__proto__"],
    ["event", 'x","camera":"south'],
    ["event", "x".repeat(64)],
    ["timestamp", "yesterday"],
    ["timestamp", "2026-01-01T00:00:00+02:00"],
    ["timestamp", '2026-01-01T00:00:00Z","camera":"south'],
    ["session", ""],
    ["session", "x".repeat(65)],
    ["seq", -1],
    ["seq", 1e300],
    ["seq", "1"],
    ["historical", "yes"],
  ])("with the %s %j, it is data without an id, not an envelope", async (field, value) => {
    const payload = envelope({ [field]: value });
    const [event, ...others] = await eventsOf(north, "north", payload);
    expect(others).toEqual([]);
    expect(event).toMatchObject({ event: "capture.completed", camera: "north", data: JSON.parse(payload) });
    expect(event).not.toHaveProperty("id");
  });

  it.each(["id", "session", "event"])("with __proto__ or constructor as %s, it is an ordinary event", async (field) => {
    for (const value of ["constructor", "__proto__"]) {
      const payload = envelope({ [field]: value, seq: 1, id: field === "id" ? value : unique() });
      expect(await eventsOf(north, "north", payload)).toMatchObject([{ camera: "north" }]);
    }
  });

  it("contributes no undeclared member", async () => {
    const forged = { camera: "south", topic: "system/status", position: 1, channel: "system", snapshot: true };
    const [event] = await eventsOf(north, "north", envelope(forged));
    expect(event).toMatchObject({ camera: "north", topic: `cameras/north/${EVENT}`, channel: "dashboard" });
    expect(event).not.toHaveProperty("snapshot");
    expect(event?.position).toBeGreaterThan(1);
  });

  it("contributes the last of several members of the same name", async () => {
    const payload = envelope({ data: "third" }).replace("{", '{"data":"first","d\\u0061ta":"second",');
    expect(await eventsOf(north, "north", payload)).toMatchObject([{ data: "third" }]);
  });
});

describe("the event name", () => {
  it.each([
    "camera.online",
    "camera.offline",
    "camera.stale",
    "system.status",
    "link.gap",
    "alert.raised",
    "job.completed",
  ])("%s concerns its sender only", async (event) => {
    await eventsOf(north, "north", envelope());
    const before = await look("/cameras");
    const data = { camera: "south", status: "offline", alert: "forged", severity: "critical", message: "south burns" };
    for (const below of [EVENT, `events/${event}`]) {
      const events = await eventsOf(north, "north", envelope({ event, data }), below);
      expect(events).toMatchObject([{ event, camera: "north", topic: `cameras/north/${below}`, channel: "dashboard" }]);
    }
    const after = await look("/cameras");
    for (const { id, presence, alerts } of before.cameras) {
      // Only `last_heard_at` may change, because the camera has just sent a message.
      const { last_heard_at: _, ...unchanged } = presence;
      expect(after.cameras.find((camera: { id: string }) => camera.id === id)).toMatchObject({
        ...{ presence: unchanged, alerts },
      });
    }
  });
});

describe("deduplication", () => {
  it("is per sender: the same id of another camera is another event", async () => {
    const payload = envelope({ id: unique() });
    expect(await eventsOf(north, "north", payload)).toHaveLength(1);
    expect(await eventsOf(south, "south", payload)).toHaveLength(1);
    expect(await eventsOf(north, "north", payload)).toEqual([]);
  });

  it("is per sender: the same session and sequence number of another camera is another event", async () => {
    const payload = envelope({ session: unique(), seq: 7 });
    expect(await eventsOf(north, "north", payload)).toHaveLength(1);
    expect(await eventsOf(south, "south", payload)).toHaveLength(1);
    expect(await eventsOf(north, "north", payload)).toEqual([]);
  });

  it("accepts an id like those that the backend gives to previews", async () => {
    const payload = envelope({ id: "preview.south.c1.0000" });
    expect(await eventsOf(north, "north", payload)).toHaveLength(1);
  });

  it("acknowledges a repeated publication without any change: an old number does not restore an old state", async () => {
    const session = unique();
    const state = (seq: number) => envelope({ session, seq, event: "resource.update", data: { seq } });
    const options = { qos: 1, retain: true } as const;
    for (const seq of [1, 2, 1]) await north.publishAsync(topicOf("north", "state/power"), state(seq), options);
    expect((await look("/cameras/north")).states.power.data).toEqual({ seq: 2 });
    const reader = await program.client(["camera:read"]);
    const inbox = inboxOf(reader);
    await reader.subscribeAsync(topicOf("north", "state/power"), { qos: 1 });
    expect(JSON.parse((await inbox.has(1))[0]?.payload ?? "").seq).toBe(2);
  });
});

describe("a retained message", () => {
  const retained = { qos: 1, retain: true } as const;

  /** The retained topics below the camera. */
  async function retainedOf(camera: string): Promise<string[]> {
    const reader = await program.client(["camera:read"]);
    const inbox = inboxOf(reader);
    await reader.subscribeAsync(topicOf(camera, "#"), { qos: 1 });
    const last = unique();
    await (camera === "north" ? north : south).publishAsync(topicOf(camera, EVENT), last, { qos: 1 });
    while (!inbox.messages.some(({ payload }) => payload === last)) await inbox.has(inbox.messages.length + 1);
    return inbox.messages.filter(({ retain }) => retain).map(({ topic }) => topic.split(`/${camera}/`)[1] ?? "");
  }

  it.each(["events/capture.completed", "replies/capture.now"])("on %s is not retained", async (below) => {
    await south.publishAsync(topicOf("south", below), "stale", retained);
    expect(await retainedOf("south")).not.toContain(below);
    const later = await openDashboard(program.skylapse.socket, signToken("later", ["camera:read"]), "camera:south");
    await eventsOf(south, "south", envelope());
    const snapshot = later.messages.filter((message) => message.type === "dashboard_event" && message.snapshot);
    expect(JSON.stringify(snapshot)).not.toContain("stale");
    await later.close();
  });

  it("that is a command is not delivered again when its camera subscribes again", async () => {
    const operator = await program.client(["camera:control"]);
    const inbox = inboxOf(south);
    await south.subscribeAsync(topicOf("south", "commands/+"), { qos: 1 });
    await operator.publishAsync(topicOf("south", "commands/reboot"), "{}", retained);
    const [reboot] = await inbox.has(1);
    const reply = { command_id: JSON.parse(reboot?.payload ?? "").id, status: "succeeded" };
    await south.publishAsync(topicOf("south", "replies/reboot"), JSON.stringify(reply), { qos: 1 });
    await south.subscribeAsync(topicOf("south", "commands/+"), { qos: 1 });
    await operator.publishAsync(topicOf("south", "commands/wake"), "{}", { qos: 1 });
    const received = (await inbox.has(2)).map(({ topic, retain }) => ({ topic, retain }));
    expect(received).toEqual(
      ["reboot", "wake"].map((name) => ({ topic: topicOf("south", `commands/${name}`), retain: false })),
    );
  });

  it("that is a will on an event topic is not retained", async () => {
    const will = { topic: topicOf("south", "events/gone"), payload: Buffer.from("gone"), ...retained };
    const other = await program.client("south", { will });
    await program.published();
    other.stream.destroy();
    await expect.poll(() => program.published()).toContain(will.topic);
    expect(await retainedOf("south")).not.toContain("events/gone");
  });

  it("with a time in the future does not block later messages", async () => {
    const state = (timestamp: string) => envelope({ timestamp, event: "resource.update", data: { timestamp } });
    for (const timestamp of ["9999-12-31T23:59:59.999Z", "2026-01-01T00:00:00.000Z"])
      await north.publishAsync(topicOf("north", "state/power"), state(timestamp), retained);
    expect((await look("/cameras/north")).states.power.data.timestamp).toBe("2026-01-01T00:00:00.000Z");
  });

  it("that is marked as historical replaces nothing", async () => {
    await north.publishAsync(topicOf("north", "state/power"), envelope({ data: "now" }), retained);
    await north.publishAsync(topicOf("north", "state/power"), envelope({ data: "then", historical: true }), retained);
    expect((await look("/cameras/north")).states.power.data).toBe("now");
  });

  it("that is empty clears a topic of its sender, but no topic of another sender", async () => {
    for (const [client, camera] of [
      [north, "north"],
      [south, "south"],
    ] as const)
      await client.publishAsync(topicOf(camera, "state/storage"), envelope({ data: camera }), retained);
    await south.publishAsync(topicOf("north", "state/storage"), "", retained);
    expect((await look("/cameras/north")).states.storage.data).toBe("north");
    await north.publishAsync(topicOf("north", "state/storage"), "", retained);
    expect((await look("/cameras/north")).states).not.toHaveProperty("storage");
  });

  it("beyond MAX_RETAINED_MESSAGES_PER_DEVICE is delivered but not retained, and other devices' messages stay", async () => {
    const own = (await retainedOf("north")).filter((name) => name !== "state/presence");
    for (const name of own) await north.publishAsync(topicOf("north", name), "", retained);
    for (let n = 0; n < MAX_RETAINED + 3; n++)
      await north.publishAsync(topicOf("north", `state/s${n}`), envelope({ data: n }), retained);
    await south.publishAsync(topicOf("south", "state/storage"), "mine", retained);
    await north.publishAsync(topicOf("north", "state/s0"), envelope({ data: "again" }), retained);
    // Polls, because the server may send a retained message after an event that was published later.
    await expect
      .poll(async () => (await retainedOf("north")).toSorted())
      .toEqual(["presence", "s0", "s1", "s2", "s3"].map((name) => `state/${name}`));
    const { states } = await look("/cameras/north");
    expect(states.s0.data).toBe("again");
    expect(Object.keys(states)).not.toContain("s7");
    await expect.poll(() => retainedOf("south")).toContain("state/storage");
  });
});

import { describe, expect, it } from "vitest";
import { connect } from "../websocket/client.ts";
import { EVERYTHING, startRealtime, tree } from "../websocket/server.ts";

describe("a subscription", () => {
  it("begins with the state as of the position in the answer, then delivers new events", async () => {
    const { url, token, state, event, journal } = await startRealtime();
    await state("north", "power", { source: "solar" });
    await event("north", { capture: "c1" });
    const second = await state("south", "power", { source: "mains" });
    await state("south", "storage", { free: 1 });
    await state("south", "storage", null);
    const client = await connect(url, token());
    client.send({ type: "subscribe", channel: "dashboard", id: "s1" });
    expect(await client.next("subscription_result")).toEqual({
      ...{ type: "subscription_result", channel: "dashboard", success: true },
      ...{ epoch: journal.epoch, position: 5, id: "s1" },
    });
    await client.events(2);
    const live = await event("north", { capture: "c2" });
    const events = await client.events(3);
    expect(events).toMatchObject([
      { event: "resource.update", data: { source: "solar" }, snapshot: true, topic: "cameras/north/state/power" },
      { event: "resource.update", data: { source: "mains" }, snapshot: true, position: second, camera: "south" },
      { event: "capture.completed", data: { capture: "c2" }, position: live, channel: "dashboard", camera: "north" },
    ]);
    expect(events[2]).not.toHaveProperty("snapshot");
    expect(events[2]).not.toHaveProperty("channels");
    expect(events[2]?.timestamp).toMatch(/Z$/);
  });

  it.each([
    ["a channel that does not exist", "kitchen", 102],
    ["a name that no channel can have", "camera:../#", 102],
    ["a channel that the token does not permit", "system", 103],
    ["a camera that the token does not permit", "camera:south", 103],
  ])("is refused for %s", async (_, channel, code) => {
    const { url, token } = await startRealtime();
    const client = await connect(url, token("alice", ["dashboard:read", "camera:north:read"]));
    const result = await client.subscribe(channel);
    expect(result).toMatchObject({ success: false, code, error: expect.stringContaining(channel) });
  });

  it("is refused when the channel is already subscribed", async () => {
    const { url, token } = await startRealtime();
    const client = await connect(url, token());
    await client.subscribe("dashboard");
    expect(await client.subscribe("dashboard")).toMatchObject({ success: false, code: 105 });
  });

  it("is refused above the limit of one connection", async () => {
    const { url, token } = await startRealtime({ maxSubscriptions: 2 });
    const client = await connect(url, token());
    await client.subscribe("camera:a");
    await client.subscribe("camera:b");
    expect(await client.subscribe("camera:c")).toMatchObject({ success: false, code: 106 });
    client.send({ type: "unsubscribe", channel: "camera:a" });
    expect(await client.subscribe("camera:c")).toMatchObject({ success: true });
  });

  it("ends without effect on the delivery of the other channels", async () => {
    const { url, token, event, sockets } = await startRealtime();
    const client = await connect(url, token());
    await client.subscribe("camera:north");
    await client.subscribe("camera:south");
    expect(sockets.channelCounts()).toEqual({ "camera:north": 1, "camera:south": 1 });
    client.send({ type: "unsubscribe", channel: "camera:north", id: 3 });
    expect(await client.next("unsubscription_result")).toEqual({
      ...{ type: "unsubscription_result", channel: "camera:north", success: true, id: 3 },
    });
    await event("north", 1);
    await event("south", 2);
    expect(await client.events(1)).toMatchObject([{ data: 2, channel: "camera:south" }]);
    expect(sockets.subscribers("camera:north")).toBe(0);
    client.send({ type: "unsubscribe", channel: "camera:north" });
    expect(await client.next("unsubscription_result")).toMatchObject({ success: false, code: 107 });
  });

  it("counts as a subscriber of its channel until its connection is closed", async () => {
    const { url, token, sockets } = await startRealtime();
    const one = await connect(url, token());
    const other = await connect(url, token());
    await one.subscribe("dashboard");
    await other.subscribe("dashboard");
    expect(sockets.subscribers("dashboard")).toBe(2);
    one.ws.close();
    await expect.poll(() => sockets.channelCounts()).toEqual({ dashboard: 1 });
  });
});

describe("an event", () => {
  it("is delivered once when it matches several channels, and names all matching channels", async () => {
    const { url, token, ingest } = await startRealtime();
    const client = await connect(url, token());
    for (const channel of ["dashboard", "camera:north", "alerts", "jobs"]) await client.subscribe(channel);
    const single = await connect(url, token("bob"));
    await single.subscribe("alerts");
    const raise = (camera: string) =>
      ingest.accept({
        ...{ identity: `device:${camera}`, topic: tree.build({ kind: "camera-alert", camera, name: "disk" }) },
        ...{ payload: Buffer.from('{"severity":"warning","message":"full"}'), qos: 1, retain: true },
      });
    await raise("north");
    await raise("south");
    expect(await client.events(2)).toMatchObject([
      { event: "alert.raised", channel: "alerts", channels: ["alerts", "camera:north", "dashboard"], camera: "north" },
      { channel: "alerts", channels: ["alerts", "dashboard"], camera: "south" },
    ]);
    const events = await single.events(2);
    expect(events).toMatchObject([{ channel: "alerts" }, { channel: "alerts" }]);
    expect(events[0]).not.toHaveProperty("channels");
  });

  it("is neither sent to a dashboard limited to other cameras, nor part of that dashboard's state", async () => {
    const { url, token, state, event, ingest } = await startRealtime();
    await state("south", "power", { source: "mains" });
    await state("north", "power", { source: "solar" });
    const narrow = await connect(url, token("alice", ["dashboard:read", "camera:north:read"]));
    const wide = await connect(url, token("bob", ["dashboard:read"]));
    await narrow.subscribe("dashboard");
    await wide.subscribe("dashboard");
    await wide.events(2);
    await event("south", "hidden");
    await event("north", "shown");
    await ingest.publish({ topic: { kind: "system", name: "status" }, event: "system.status", data: { status: "ok" } });
    const shown = await narrow.events(3);
    expect(shown.map(({ camera, event: name }) => [camera, name])).toEqual([
      ["north", "resource.update"],
      ["north", "capture.completed"],
      [undefined, "system.status"],
    ]);
    expect(await wide.events(5)).toHaveLength(5);
  });

  it("arrives unchanged, whatever its size", async () => {
    const { url, token, event } = await startRealtime();
    const client = await connect(url, token());
    await client.subscribe("dashboard");
    // Lengths that a frame encodes in 7, 16 and 64 bits, and characters of 1 to 4 bytes.
    const texts = [0, 10, 125, 65_000, 65_536, 200_000].map((length) => "añ€😀".repeat(Math.ceil(length / 10)));
    for (const text of texts) await event("north", text, "note");
    expect((await client.events(texts.length)).map(({ data }) => data)).toEqual(texts);
  });

  it("reaches a custom channel by the operator's topic filters", async () => {
    const channels = new Map([["ridge", { filters: ["skylapse/v1/cameras/+/events/#"], permission: "ridge:read" }]]);
    const { url, token, event, state } = await startRealtime({ channels });
    const client = await connect(url, token("alice", ["ridge:read"]));
    await client.subscribe("ridge");
    await state("north", "power", 1);
    await event("north", 2);
    expect(await client.events(1)).toMatchObject([{ channel: "ridge", data: 2 }]);
  });

  it("is delivered in order and without delay, whether events are published one by one or all at once", async () => {
    const { url, token, event, sockets } = await startRealtime();
    const clients = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const client = await connect(url, token(`user-${index}`));
        await client.subscribe(index % 2 === 0 ? "dashboard" : "camera:north");
        return client;
      }),
    );
    await event("north", 0);
    await Promise.all(Array.from({ length: 500 }, (_, index) => event("north", index + 1)));
    for (const client of clients) {
      const events = await client.events(501);
      expect(events.map(({ data }) => data)).toEqual(Array.from({ length: 501 }, (_, index) => index));
    }
    const { deliveries, writes } = sockets.stats().fanOut;
    expect(deliveries).toBe(20 * 501);
    expect(writes).toBeLessThan(20 * 101);
  });
});

describe("events that wait for the next flush", () => {
  it("are not sent to a client that subscribes meanwhile, because the answer has a later position", async () => {
    const { url, token, event } = await startRealtime({ flushIntervalMs: 300 });
    const first = await connect(url, token());
    const second = await connect(url, token());
    await first.subscribe("dashboard");
    await event("north", 1);
    await event("north", 2);
    expect(await second.subscribe("dashboard")).toMatchObject({ position: 2 });
    await event("north", 3);
    expect((await second.events(1)).map(({ data }) => data)).toEqual([3]);
    expect((await first.events(3)).map(({ data }) => data)).toEqual([1, 2, 3]);
  });

  it("are sent to a client that unsubscribes before the client gets the answer", async () => {
    const { url, token, event } = await startRealtime({ flushIntervalMs: 300 });
    const client = await connect(url, token());
    await client.subscribe("dashboard");
    await event("north", 1);
    await event("north", 2);
    client.send({ type: "unsubscribe", channel: "dashboard" });
    await client.next("unsubscription_result");
    expect(client.dashboardEvents.map(({ data }) => data)).toEqual([1, 2]);
  });
});

it("the server checks the permission of every channel", async () => {
  const { url, token } = await startRealtime();
  const client = await connect(url, token("alice", ["jobs:read"]));
  const results = [];
  for (const channel of ["dashboard", "camera:north", "alerts", "jobs", "system"])
    results.push((await client.subscribe(channel)).success);
  expect(results).toEqual([false, false, false, true, false]);
  const other = await connect(url, token("bob", EVERYTHING));
  expect(await other.subscribe("system")).toMatchObject({ success: true });
});

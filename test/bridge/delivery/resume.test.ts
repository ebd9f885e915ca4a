import { describe, expect, it } from "vitest";
import { connect } from "../websocket/client.ts";
import { type Realtime, startRealtime } from "../websocket/server.ts";

async function many(event: Realtime["event"], count: number, camera = "north", first = 1): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, index) => event(camera, first + index)));
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

describe("a client that resumes", () => {
  it("gets every event after its position, in order, then caught_up, then new events", async () => {
    const { url, token, event, journal } = await startRealtime();
    await many(event, 2_500);
    const client = await connect(url, token());
    const since = { epoch: journal.epoch, position: 300 };
    expect(await client.subscribe("dashboard", since)).toMatchObject({
      ...{ success: true, recovered: true, epoch: journal.epoch, position: 2_500 },
    });
    await client.next("caught_up", ({ position }) => position === 2_500);
    expect(client.dashboardEvents.map(({ position }) => position)).toEqual(range(301, 2_500));
    await event("north", "new");
    const events = await client.events(2_201);
    expect(events.at(-1)).toMatchObject({ data: "new", position: 2_501 });
    expect(events.some(({ snapshot }) => snapshot)).toBe(false);
  });

  it("is caught up at once when its position is the head", async () => {
    const { url, token, event, journal } = await startRealtime();
    await many(event, 10);
    const client = await connect(url, token());
    await client.subscribe("dashboard", { epoch: journal.epoch, position: 10 });
    expect(await client.next("caught_up")).toEqual({ type: "caught_up", channel: "dashboard", position: 10 });
    expect(client.dashboardEvents).toEqual([]);
  });

  it("gets each event once while new events keep arriving", async () => {
    const { url, token, event, journal } = await startRealtime();
    await many(event, 1_500);
    const client = await connect(url, token());
    const publishing = (async () => {
      for (let round = 0; round < 40; round++) await many(event, 25, "north", 1_501 + round * 25);
    })();
    await client.subscribe("camera:north", { epoch: journal.epoch, position: 0 });
    await publishing;
    const events = await client.events(2_500);
    expect(events.map(({ position }) => position)).toEqual(range(1, 2_500));
  });

  it("gets each event once, with all of the event's channels, when it resumes several channels from one position", async () => {
    const { url, token, event, journal } = await startRealtime();
    for (let index = 1; index <= 150; index++) await many(event, 1, index % 3 === 0 ? "south" : "north", index);
    const client = await connect(url, token());
    const since = { epoch: journal.epoch, position: 20 };
    for (const channel of ["camera:north", "dashboard", "camera:west"])
      client.send({ type: "subscribe", channel, since });
    for (let count = 0; count < 3; count++) await client.next("caught_up");
    expect(client.dashboardEvents.map(({ position }) => position)).toEqual(range(21, 150));
    expect(client.dashboardEvents[0]).toMatchObject({ channel: "dashboard", camera: "south" });
    expect(client.dashboardEvents[0]).not.toHaveProperty("channels");
    expect(client.dashboardEvents[1]).toMatchObject({ channels: ["camera:north", "dashboard"], camera: "north" });
  });

  it("gets each channel from its own position when the positions differ", async () => {
    const { url, token, event, journal } = await startRealtime();
    for (let index = 1; index <= 60; index++) await many(event, 1, index % 2 === 0 ? "south" : "north", index);
    const { epoch } = journal;
    for (const order of [
      ["camera:north", "camera:south"],
      ["camera:south", "camera:north"],
    ]) {
      const client = await connect(url, token());
      for (const channel of order)
        client.send({ type: "subscribe", channel, since: { epoch, position: channel === "camera:north" ? 10 : 50 } });
      for (let count = 0; count < 2; count++) await client.next("caught_up");
      const positions = client.dashboardEvents.map(({ position }) => position);
      const expected = range(11, 60).filter((position) => position % 2 === 1 || position > 50);
      expect(positions.toSorted((one, other) => one - other)).toEqual(expected);
      client.ws.close();
    }
  });

  it("gets all events of a second channel beside a live channel, then each event once for both channels", async () => {
    const { url, token, event, journal } = await startRealtime();
    await many(event, 10);
    const client = await connect(url, token());
    await client.subscribe("camera:north");
    await many(event, 5, "north", 11);
    await many(event, 5, "south", 16);
    await client.events(5);
    await client.subscribe("dashboard", { epoch: journal.epoch, position: 4 });
    await client.next("caught_up");
    const last = await event("north", "new");
    const events = await client.events(22);
    expect(events.map(({ position, channel }) => [position, channel])).toEqual([
      ...range(11, 15).map((position) => [position, "camera:north"]),
      ...range(5, 20).map((position) => [position, "dashboard"]),
      [last, "camera:north"],
    ]);
    expect(events.at(-1)).toMatchObject({ channels: ["camera:north", "dashboard"] });
  });

  it("gets all events of one channel after it unsubscribes from another during backfill", async () => {
    const { url, token, event, journal } = await startRealtime();
    await many(event, 3_000);
    const client = await connect(url, token());
    const { epoch } = journal;
    client.send({ type: "subscribe", channel: "alerts", since: { epoch, position: 3_000 } });
    client.send({ type: "subscribe", channel: "camera:north", since: { epoch, position: 0 } });
    client.send({ type: "subscribe", channel: "dashboard", since: { epoch, position: 1_000 } });
    client.send({ type: "unsubscribe", channel: "camera:north" });
    await client.next("caught_up", ({ channel }) => channel === "dashboard");
    const positions = client.dashboardEvents
      .filter(({ channel, channels = [channel] }) => channels.includes("dashboard") || channel === "camera:north")
      .map(({ position }) => position);
    expect(new Set(positions).size).toBe(positions.length);
    expect(range(1_001, 3_000).filter((position) => !positions.includes(position))).toEqual([]);
  });

  it("gets the gap and the state when its position belongs to another epoch", async () => {
    const { url, token, state, event, journal } = await startRealtime();
    await many(event, 5);
    await state("north", "power", { source: "solar" });
    const client = await connect(url, token());
    const result = await client.subscribe("dashboard", { epoch: "other", position: 3 });
    expect(result).toMatchObject({
      ...{ success: true, recovered: false, reason: "epoch_changed", epoch: journal.epoch, position: 6 },
      gap: { after: 0, before: 7 },
    });
    await client.next("caught_up");
    expect(client.dashboardEvents).toMatchObject([{ snapshot: true, data: { source: "solar" }, position: 6 }]);
  });

  it("gets the gap and the state when its position is ahead of the journal", async () => {
    const { url, token, state, journal } = await startRealtime();
    await state("north", "power", { source: "solar" });
    const client = await connect(url, token());
    const result = await client.subscribe("dashboard", { epoch: journal.epoch, position: 99 });
    expect(result).toMatchObject({ recovered: false, reason: "ahead", position: 1 });
    expect(await client.events(1)).toMatchObject([{ snapshot: true, position: 1 }]);
  });

  it("gets the gap, the state as of the gap's end and all later events when its position was trimmed", async () => {
    const { url, token, state, event, journal } = await startRealtime({ retentionEvents: 50 });
    await state("north", "power", { source: "solar" });
    await state("north", "storage", { free: 1 });
    await many(event, 100);
    await state("north", "storage", { free: 2 });
    await journal.trim();
    const client = await connect(url, token());
    const result = await client.subscribe("camera:north", { epoch: journal.epoch, position: 1 });
    const before = result.gap?.before ?? 0;
    expect(result).toMatchObject({ recovered: false, reason: "trimmed", gap: { after: 1 }, position: before - 1 });
    await client.next("caught_up");
    expect(before).toBeGreaterThan(2);
    const [first, ...others] = client.dashboardEvents;
    expect(first).toMatchObject({ snapshot: true, data: { source: "solar" }, position: 1 });
    expect(others.map(({ position }) => position)).toEqual(range(before, 103));
    expect(others.at(-1)).toMatchObject({ data: { free: 2 } });
  });
});

describe("the position in a ping", () => {
  it("is omitted without a subscription, because a client that resumes there would miss events of channels it subscribes later", async () => {
    const { url, token, event } = await startRealtime({ pingIntervalMs: 100 });
    await many(event, 5);
    const client = await connect(url, token());
    expect(await client.next("ping")).toEqual({ type: "ping" });
    await client.subscribe("camera:north");
    expect(await client.next("ping", ({ position }) => position !== undefined)).toMatchObject({ position: 5 });
    client.send({ type: "unsubscribe", channel: "camera:north" });
    await client.next("unsubscription_result");
    await many(event, 3);
    expect((await client.next("ping", ({ position }) => position !== 5)).position).toBeUndefined();
  });

  it("is the position of the last delivered event: a client that resumes from it misses nothing", async () => {
    const { url, token, event, journal } = await startRealtime({ pingIntervalMs: 100 });
    const client = await connect(url, token());
    await client.subscribe("camera:north");
    await many(event, 5);
    await many(event, 7, "south");
    const ping = await client.next("ping", ({ position = 0 }) => position >= 12);
    expect(ping.position).toBe(12);
    client.ws.close();
    await many(event, 3);
    const again = await connect(url, token());
    await again.subscribe("camera:north", { epoch: journal.epoch, position: 12 });
    expect((await again.events(3)).map(({ position }) => position)).toEqual([13, 14, 15]);
  });
});

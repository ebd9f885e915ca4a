import { describe, expect, it } from "vitest";
import { usedHeapBytes } from "../../support/used-heap.ts";
import { startTestBroker, topic } from "../broker-under-test.ts";
import { connect5, NORTH5, userOf } from "./client5.ts";

const EVENT = topic("cameras/north/events/capture.completed");
const ABOUT = topic("cameras/north/about");

describe("SUBACK", () => {
  it("has one reason code for each filter, in their order, and the QoS that was asked for [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1]", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_SUBSCRIPTIONS: "3" } });
    const north = await connect5(test, NORTH5);
    const own = topic("cameras/north/commands");
    const filters = [`${own}/a`, topic("cameras/south/#"), "a/#/b", `${own}/b`, `${own}/c`, `${own}/d`];
    const options = { qos: 2, nl: false, rap: false, rh: 0 } as const;
    north.send(
      {
        cmd: "subscribe",
        messageId: 9,
        subscriptions: filters.slice(0, 3).map((name) => ({ topic: name, ...options })),
      },
      {
        cmd: "subscribe",
        messageId: 10,
        subscriptions: filters.slice(3).map((name) => ({ topic: name, ...options, qos: 0 })),
      },
    );
    const first = await north.next("suback");
    expect(first).toMatchObject({ messageId: 9, granted: [2, 0x87, 0x8f] });
    expect(first.properties?.reasonString).toMatch(/permissions.*'#'/);
    expect(await north.next("suback")).toMatchObject({ messageId: 10, granted: [0, 0, 0x97] });
    expect(test.broker.stats().refusedSubscriptions).toBe(3);
  });

  it("refuses more filters than MAX_MQTT_SUBSCRIPTIONS in one packet with DISCONNECT 0x97", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_SUBSCRIPTIONS: "2" } });
    const north = await connect5(test, NORTH5);
    const subscriptions = ["a", "b", "c"].map((name) => ({ topic: name, qos: 0 as const }));
    const userProperties = { long: "x".repeat(300) };
    north.send({
      cmd: "subscribe",
      messageId: 1,
      subscriptions: subscriptions.slice(1),
      properties: { userProperties },
    });
    await north.next("suback");
    north.send({ cmd: "subscribe", messageId: 1, subscriptions, properties: { userProperties } });
    expect((await north.next("disconnect")).reasonCode).toBe(0x97);
  });
});

describe("UNSUBACK", () => {
  it("has one reason code for each filter, and nothing comes after it [MQTT-3.10.4-1] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1]", async () => {
    const test = await startTestBroker();
    for (const sessionExpiryInterval of [0, 60]) {
      const reader = await connect5(test, { ...userOf(test, ["admin"]), properties: { sessionExpiryInterval } });
      await reader.subscribe("a/+");
      await reader.subscribe("b");
      reader.send({ cmd: "unsubscribe", messageId: 3, unsubscriptions: ["a/+", "a/b"] });
      expect(await reader.next("unsuback")).toMatchObject({ messageId: 3, granted: [0, 0x11] });
      await reader.publish("a/b", "1");
      await reader.publish("b", "2");
      expect(await reader.next("publish")).toMatchObject({ topic: "b" });
    }
  });
});

describe.each([0, 60])("with a session expiry interval of %i s", (sessionExpiryInterval) => {
  const start = async () => {
    const test = await startTestBroker();
    const reader = await connect5(test, { ...userOf(test, ["admin"]), properties: { sessionExpiryInterval } });
    return { test, reader };
  };

  it("overlapping filters lead to one delivery with the highest QoS and all identifiers [MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.8.4-8]", async () => {
    const { reader } = await start();
    await reader.subscribe("a/#", { qos: 1, identifier: 1 });
    await reader.subscribe("a/+", { qos: 2, identifier: 268_435_455 });
    await reader.subscribe("+/b", { qos: 0 });
    await reader.subscribe("a/b", { qos: 1, identifier: 2, nl: true });
    await reader.publish("a/b", "x", { qos: 2 });
    const { properties, ...publish } = await reader.next("publish");
    expect(publish).toMatchObject({ topic: "a/b", qos: 2 });
    expect(properties?.subscriptionIdentifier).toEqual([1, 268_435_455]);
    await reader.publish("a/b", "y", { qos: 0 });
    expect(await reader.next("publish")).toMatchObject({
      ...{ qos: 0, payload: Buffer.from("y") },
      properties: { subscriptionIdentifier: [1, 268_435_455] },
    });
    await reader.ping();
    expect(reader.packets.filter(({ cmd }) => cmd === "publish")).toEqual([]);
  });

  it("a filter with no local does not select what its client publishes [MQTT-3.8.3-3]", async () => {
    const { test, reader } = await start();
    const other = await connect5(test, userOf(test, ["admin"], "other"));
    await reader.subscribe("a", { nl: true });
    for (const qos of [0, 1, 2] as const) {
      await reader.publish("a", "own", { qos });
      await other.publish("a", `other ${qos}`, { qos, messageId: 20 + qos });
      expect((await reader.next("publish")).payload.toString()).toBe(`other ${qos}`);
    }
  });

  it("a live message has RETAIN only with retain as published [MQTT-3.3.1-12] [MQTT-3.3.1-13]", async () => {
    const { test, reader } = await start();
    const north = await connect5(test, NORTH5);
    await reader.subscribe(ABOUT);
    await north.publish(ABOUT, "1", { retain: true });
    expect(await reader.next("publish")).toMatchObject({ retain: false });
    await reader.subscribe(ABOUT, { rap: true, rh: 2 });
    await north.publish(ABOUT, "2", { retain: true });
    expect(await reader.next("publish")).toMatchObject({ retain: true, payload: Buffer.from("2") });
    await north.publish(ABOUT, "3", { retain: true, qos: 0 });
    expect(await reader.next("publish")).toMatchObject({ retain: true, payload: Buffer.from("3") });
  });

  it("retained messages come by retain handling, with their properties and the filter's identifier [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] [MQTT-3.8.4-4]", async () => {
    const { test, reader } = await start();
    const north = await connect5(test, NORTH5);
    await north.publish(ABOUT, "kept", { retain: true, properties: { contentType: "x/y" } });
    const count = async (rh: 0 | 1 | 2, identifier: number) => {
      await reader.subscribe(ABOUT, { rh, identifier });
      await reader.publish("marker", String(identifier), { qos: 0 });
      return await comesBeforeMarker();
    };
    const comesBeforeMarker = async () => {
      const seen: unknown[] = [];
      for (;;) {
        const { topic: name, retain, properties } = await reader.next("publish");
        if (name === "marker") return seen;
        seen.push([retain, properties?.contentType, properties?.subscriptionIdentifier]);
      }
    };
    await reader.subscribe("marker", { qos: 0 });
    expect(await count(2, 1)).toEqual([]);
    expect(await count(1, 2)).toEqual([]);
    // Retained messages are read from the store, and the marker is not.
    reader.send({ cmd: "unsubscribe", messageId: 3, unsubscriptions: [ABOUT] });
    await reader.next("unsuback");
    await reader.subscribe(ABOUT, { rh: 1, identifier: 3 });
    expect(await reader.next("publish")).toMatchObject({
      ...{ topic: ABOUT, retain: true, qos: 1 },
      properties: { contentType: "x/y", subscriptionIdentifier: 3 },
    });
    await reader.subscribe(ABOUT, { rh: 0, identifier: 4, qos: 0 });
    expect(await reader.next("publish")).toMatchObject({
      retain: true,
      qos: 0,
      properties: { subscriptionIdentifier: 4 },
    });
  });

  it("a subscription replaces an earlier one of the same filter [MQTT-3.8.4-3]", async () => {
    const { reader } = await start();
    await reader.subscribe("a", { qos: 2, identifier: 1, nl: true });
    await reader.subscribe("a", { qos: 0 });
    await reader.publish("a", "x", { qos: 1 });
    const { qos, properties } = await reader.next("publish");
    expect({ qos, properties }).toEqual({ qos: 0, properties: undefined });
  });

  it("wildcards do not match topics that begin with $ [MQTT-4.7.2-1]", async () => {
    const { test, reader } = await start();
    await reader.subscribe("#", { identifier: 1 });
    await reader.subscribe("+/+/new/clients", { identifier: 2 });
    await reader.subscribe("$SYS/#", { identifier: 3 });
    await test.client({ clientId: "old", username: "x", password: test.token(["admin"]) });
    const { topic: name, properties } = await reader.next("publish");
    expect(name).toMatch(/^\$SYS\/.*\/new\/clients$/);
    expect(properties?.subscriptionIdentifier).toBe(3);
  });

  it("a client gets only what its permissions allow", async () => {
    const test = await startTestBroker();
    const options = { ...userOf(test, ["camera:north:read"]), properties: { sessionExpiryInterval } };
    const reader = await connect5(test, options);
    expect(await reader.subscribe(topic("cameras/+/events/#"))).toBe(0x87);
    expect(await reader.subscribe(topic("cameras/north/events/#"))).toBe(1);
    const north = await connect5(test, NORTH5);
    await north.publish(EVENT, "{}");
    expect(await reader.next("publish")).toMatchObject({ topic: EVENT });
  });
});

it("repeated SUBSCRIBEs of a client that acknowledges no retained message do not fill the memory", async () => {
  const test = await startTestBroker({ env: { MAX_MQTT_MESSAGES_PER_SECOND: "0" } });
  const writer = await connect5(test, userOf(test, ["admin"], "writer"));
  for (const name of ["a/1", "a/2", "a/3"]) await writer.publish(name, name, { retain: true });
  const reader = await connect5(test, { ...userOf(test, ["admin"]), properties: { receiveMaximum: 1 } });
  const subscription = { topic: "a/#", qos: 1, nl: false, rap: false, rh: 0 } as const;
  const subscribe = async (times: number) => {
    for (let messageId = 1; messageId <= times; messageId++)
      reader.send({ cmd: "subscribe", messageId, subscriptions: [subscription] });
    await reader.ping();
  };
  await subscribe(500);
  const { payload, messageId = 0 } = await reader.next("publish");
  reader.packets.length = 0;
  test.log.length = 0;
  const before = usedHeapBytes();
  await subscribe(4_000);
  reader.packets.length = 0;
  test.log.length = 0;
  // Each SUBSCRIBE took 4 KB until the client acknowledged the message.
  expect(usedHeapBytes() - before).toBeLessThan(6_000_000);
  expect(payload.toString()).toBe("a/1");
  // What belongs to the newest SUBSCRIBE follows.
  reader.send({ cmd: "puback", messageId, reasonCode: 0 });
  for (const name of ["a/1", "a/2", "a/3"]) {
    const next = await reader.next("publish");
    expect(next.payload.toString()).toBe(name);
    reader.send({ cmd: "puback", messageId: next.messageId ?? 0, reasonCode: 0 });
  }
  await reader.ping();
  expect(reader.packets).toEqual([]);
});

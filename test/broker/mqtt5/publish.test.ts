import { describe, expect, it } from "vitest";
import { startTestBroker, topic } from "../broker-under-test.ts";
import { connect5, NORTH5, userOf } from "./client5.ts";

const EVENT = topic("cameras/north/events/capture.completed");
const ABOUT = topic("cameras/north/about");

describe("a publication", () => {
  it("travels with its properties, user properties in order, and without those of one connection [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]", async () => {
    const test = await startTestBroker();
    const reader = await connect5(test, userOf(test, ["admin"]));
    const north = await connect5(test, NORTH5);
    await reader.subscribe("#");
    const properties = {
      payloadFormatIndicator: true,
      contentType: "application/json",
      responseTopic: "answers/1",
      correlationData: Buffer.from([0, 1, 255]),
      userProperties: { b: ["1", "2"], a: "3" },
    };
    await north.publish(EVENT, "{}", { properties: { ...properties, topicAlias: 3, messageExpiryInterval: 60 } });
    const { properties: got, ...publish } = await reader.next("publish");
    expect(publish).toMatchObject({ topic: EVENT, payload: Buffer.from("{}"), qos: 1, retain: false, dup: false });
    expect(got).toMatchObject({ ...properties, userProperties: { b: ["1", "2"], a: "3" } });
    expect(Object.keys(got?.userProperties ?? {})).toEqual(["b", "a"]);
    expect(got?.topicAlias).toBeUndefined();
    expect(test.ingest.accepted[0]).toMatchObject({ publisher: "camera-north", identity: "device:north" });
  });

  it("reaches MQTT 3.1.1 clients without its properties, and the other way round", async () => {
    const test = await startTestBroker();
    const { inbox, client } = await test.join({ clientId: "old", username: "x", password: test.token(["admin"]) });
    await client.subscribeAsync("#", { qos: 1 });
    const north = await connect5(test, NORTH5);
    await north.subscribe(topic("cameras/north/commands/+"));
    await north.publish(EVENT, "{}", { properties: { contentType: "x/y" } });
    expect(await inbox.has(1)).toEqual([{ topic: EVENT, payload: "{}", qos: 1, retain: false, dup: false }]);
    await client.publishAsync(topic("cameras/north/commands/capture.now"), "{}", { qos: 1 });
    expect(await north.next("publish")).toMatchObject({ topic: topic("cameras/north/commands/capture.now") });
  });

  it("of QoS 0 reaches MQTT 5 subscribers with its properties too", async () => {
    const test = await startTestBroker();
    const reader = await connect5(test, userOf(test, ["admin"]));
    await reader.subscribe("#", { qos: 2, identifier: 4 });
    const north = await connect5(test, NORTH5);
    await north.publish(EVENT, "{}", { qos: 0, properties: { contentType: "x/y", messageExpiryInterval: 9 } });
    expect(await reader.next("publish")).toMatchObject({
      qos: 0,
      properties: { contentType: "x/y", messageExpiryInterval: 9, subscriptionIdentifier: 4 },
    });
  });

  it("of QoS 2 is acknowledged with PUBREC and PUBCOMP, and published once [MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-3.7.2-1]", async () => {
    const test = await startTestBroker();
    const north = await connect5(test, NORTH5);
    expect(await north.publish(EVENT, "{}", { qos: 2, messageId: 5 })).toBe(0);
    expect(await north.publish(EVENT, "{}", { qos: 2, messageId: 5 })).toBe(0);
    north.send({ cmd: "pubrel", messageId: 5, reasonCode: 0 });
    expect(await north.next("pubcomp")).toMatchObject({ messageId: 5, reasonCode: 0 });
    north.send({ cmd: "pubrel", messageId: 5, reasonCode: 0 });
    expect(await north.next("pubcomp")).toMatchObject({ messageId: 5, reasonCode: 0x92 });
    expect(test.ingest.accepted).toHaveLength(1);
    await north.publish(EVENT, "{}", { qos: 2, messageId: 5 });
    expect(test.ingest.accepted).toHaveLength(2);
  });

  it.each([
    ["0x87 for a topic that its permissions do not cover", topic("cameras/south/about"), "{}", 0x87, /permissions/],
    ["0x90 for a topic that is not allowed", topic("cameras/north/events/\u202e"), "{}", 0x90, /topic/],
    ["0x97 for a payload above MAX_PAYLOAD_BYTES", EVENT, "x".repeat(1001), 0x97, /MAX_PAYLOAD_BYTES/],
  ])(
    "is refused with %s, with the reason string of the log, at QoS 1 and 2 [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-4.3.3-9]",
    async (_, name, payload, code, why) => {
      const test = await startTestBroker({ env: { MAX_PAYLOAD_BYTES: "1000" } });
      const north = await connect5(test, NORTH5);
      north.send({ cmd: "publish", topic: name, payload, qos: 1, messageId: 1, retain: false, dup: false });
      const puback = await north.next("puback");
      expect(puback).toMatchObject({ reasonCode: code, properties: { reasonString: expect.stringMatching(why) } });
      expect(await test.logged("publication refused")).toMatchObject({ why: puback.properties?.reasonString });
      // A refusing PUBREC ends the exchange.
      expect(await north.publish(name, payload, { qos: 2, messageId: 2 })).toBe(code);
      expect(await north.publish(EVENT, "{}", { qos: 2, messageId: 2 })).toBe(0);
      expect(test.ingest.accepted.map((one) => one.topic)).toEqual([EVENT]);
    },
  );

  it("that ingest refuses is answered with the reason of ingest", async () => {
    const test = await startTestBroker();
    const north = await connect5(test, NORTH5);
    const refusal = Object.assign(new Error("no picture"), { permanent: true, reason: "bad_picture" });
    test.ingest.answer = () => Promise.reject(refusal);
    const preview = topic("cameras/north/previews/p1");
    north.send({ cmd: "publish", topic: preview, payload: "x", qos: 1, messageId: 1, retain: false, dup: false });
    expect(await north.next("puback")).toMatchObject({ reasonCode: 0x99, properties: { reasonString: "no picture" } });
  });

  it("that cannot be made durable is not acknowledged: DISCONNECT 0x89", async () => {
    const test = await startTestBroker();
    const north = await connect5(test, NORTH5);
    test.ingest.answer = () => Promise.reject(new Error("disk full"));
    north.send({ cmd: "publish", topic: EVENT, payload: "x", qos: 1, messageId: 1, retain: false, dup: false });
    expect((await north.next("disconnect")).reasonCode).toBe(0x89);
    await north.ended;
    expect(north.packets).toEqual([]);
  });

  it("whose payload is not UTF-8, as its payload format says, is refused with 0x99", async () => {
    const test = await startTestBroker();
    const north = await connect5(test, NORTH5);
    const properties = { payloadFormatIndicator: true };
    expect(await north.publish(EVENT, Buffer.from([0xff]), { properties })).toBe(0x99);
    expect(await north.publish(EVENT, "é", { properties })).toBe(0);
    expect(await test.logged("publication refused")).toMatchObject({ reason: "bad_payload" });
  });

  it("that is not retained for lack of room is accepted, and its PUBACK says so", async () => {
    const test = await startTestBroker({ env: { MAX_RETAINED_MESSAGES_PER_DEVICE: "1" } });
    const north = await connect5(test, NORTH5);
    await north.publish(ABOUT, "{}", { retain: true });
    const another = topic("cameras/north/state/storage");
    north.send({ cmd: "publish", topic: another, payload: "{}", qos: 1, messageId: 2, retain: true, dup: false });
    const reasonString = expect.stringContaining("not retained");
    expect(await north.next("puback")).toMatchObject({ reasonCode: 0, properties: { reasonString } });
  });

  it("gets no reason string without request problem information, or without room for it [MQTT-3.1.2-29] [MQTT-3.4.2-2]", async () => {
    const test = await startTestBroker();
    for (const properties of [{ requestProblemInformation: false }, { maximumPacketSize: 25 }]) {
      const north = await connect5(test, { ...NORTH5, properties });
      north.send({ cmd: "publish", topic: "a", payload: "", qos: 1, messageId: 1, retain: false, dup: false });
      const { reasonCode, properties: got } = await north.next("puback");
      expect({ reasonCode, got }).toEqual({ reasonCode: 0x87, got: undefined });
    }
  });
});

describe("a topic alias of a client", () => {
  it("stands for its topic, until it gets another one", async () => {
    const test = await startTestBroker();
    const north = await connect5(test, NORTH5);
    const other = topic("cameras/north/events/capture.failed");
    for (const name of [EVENT, "", other, ""]) await north.publish(name, "{}", { properties: { topicAlias: 64 } });
    expect(test.ingest.accepted.map((one) => one.topic)).toEqual([EVENT, EVENT, other, other]);
  });

  it.each<[string, string, number | undefined, number]>([
    ["0x94 for the alias 0 [MQTT-3.3.2-8]", EVENT, 0, 0x94],
    ["0x94 for an alias above the maximum [MQTT-3.2.2-17] [MQTT-3.3.2-9]", EVENT, 65, 0x94],
    ["0x82 for an alias without a topic", "", 1, 0x82],
    ["0x82 for neither topic nor alias", "", undefined, 0x82],
  ])("ends the connection with %s", async (_, name, topicAlias, code) => {
    const test = await startTestBroker();
    const north = await connect5(test, NORTH5);
    const properties = topicAlias === undefined ? {} : { topicAlias };
    north.send({ cmd: "publish", topic: name, payload: "", qos: 0, retain: false, dup: false, properties });
    expect((await north.next("disconnect")).reasonCode).toBe(code);
  });

  it("ends with its connection [MQTT-3.3.2-7]", async () => {
    const test = await startTestBroker();
    const north = await connect5(test, NORTH5);
    await north.publish(EVENT, "{}", { properties: { topicAlias: 1 } });
    const again = await connect5(test, NORTH5);
    again.send({
      cmd: "publish",
      topic: "",
      payload: "",
      qos: 0,
      retain: false,
      dup: false,
      properties: { topicAlias: 1 },
    });
    expect((await again.next("disconnect")).reasonCode).toBe(0x82);
  });
});

describe("a PUBLISH that breaks the protocol", () => {
  const text = (value: string) => [value.length >> 8, value.length & 255, ...Buffer.from(value)];
  const publish = (first: number, ...body: number[]) => [first, body.length, ...body];
  it.each<[string, readonly number[], number]>([
    ["QoS 3 [MQTT-3.3.1-4]", publish(0x36, ...text("a"), 0, 1, 0), 0x81],
    ["DUP at QoS 0 [MQTT-3.3.1-2]", publish(0x38, ...text("a"), 0), 0x81],
    ["a wildcard in its topic [MQTT-3.3.2-2] [MQTT-4.7.0-1]", publish(0x30, ...text("a/+"), 0), 0x90],
    ["packet identifier 0", publish(0x32, ...text("a"), 0, 0, 0), 0x82],
    ["a topic that is not UTF-8 [MQTT-1.5.4-1]", publish(0x30, 0, 1, 0xff, 0), 0x81],
    ["U+0000 in its topic [MQTT-1.5.4-2]", publish(0x30, 0, 1, 0, 0), 0x81],
    ["a topic that is longer than the packet", publish(0x30, 0xff, 0xff, 1), 0x81],
    ["a subscription identifier [MQTT-3.3.4-6]", publish(0x30, ...text("a"), 2, 0x0b, 1), 0x81],
    ["a wildcard in its response topic [MQTT-3.3.2-14]", publish(0x30, ...text("a"), 4, 0x08, 0, 1, 0x23), 0x90],
    ["a truncated user property", publish(0x30, ...text("a"), 4, 0x26, 0, 1, 97), 0x81],
    ["properties that are longer than the packet", publish(0x30, ...text("a"), 9, 1), 0x81],
  ])("by %s ends the connection [MQTT-4.13.1-1]", async (_, bytes, code) => {
    const test = await startTestBroker();
    const north = await connect5(test, NORTH5);
    north.sendBytes(bytes);
    expect((await north.next("disconnect")).reasonCode).toBe(code);
    await north.ended;
    expect(test.ingest.accepted).toEqual([]);
  });

  it("by more than the receive maximum of QoS 2 ends the connection with 0x93 [MQTT-3.3.4-7]", async () => {
    const test = await startTestBroker();
    const north = await connect5(test, NORTH5);
    const packet = (messageId: number) =>
      ({ cmd: "publish", topic: EVENT, payload: "", qos: 2, messageId, retain: false, dup: false }) as const;
    north.send(...Array.from({ length: 1000 }, (_, index) => packet(index + 1)));
    for (let index = 0; index < 1000; index++) await north.next("pubrec");
    // A repeated publication takes no further room.
    expect(await north.publish(EVENT, "", { qos: 2, messageId: 1 })).toBe(0);
    north.send(packet(1001));
    expect((await north.next("disconnect")).reasonCode).toBe(0x93);
  });
});

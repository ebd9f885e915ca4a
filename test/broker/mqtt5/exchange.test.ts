import { describe, expect, it } from "vitest";
import { startTestBroker, topic } from "../broker-under-test.ts";
import { type Client5, connect5, NORTH5, tryConnect5, userOf } from "./client5.ts";

const ABOUT = topic("cameras/north/about");
const EVENT = topic("cameras/north/events/capture.completed");

async function payloadsBeforePing(client: Client5): Promise<string[]> {
  await client.ping();
  const publishes = client.packets.filter((packet) => packet.cmd === "publish");
  client.packets.splice(0);
  return publishes.map(({ payload }) => payload.toString());
}

describe("CONNACK", () => {
  it("has one flag, the keep-alive of the client, and no response information or authentication method [MQTT-3.2.2-1] [MQTT-3.2.2-8] [MQTT-3.2.2-22] [MQTT-3.1.2-28] [MQTT-4.12.0-6] [MQTT-3.2.0-2]", async () => {
    const test = await startTestBroker();
    const bytes: Buffer[] = [];
    const { client, connack } = await tryConnect5(test, {
      ...NORTH5,
      properties: { requestResponseInformation: true },
    });
    client.socket.on("data", (chunk) => bytes.push(chunk));
    expect(connack).toMatchObject({ reasonCode: 0, sessionPresent: false });
    expect(Object.keys(connack.properties ?? {}).sort()).toEqual([
      "maximumPacketSize",
      "receiveMaximum",
      "topicAliasMaximum",
    ]);
    await client.ping();
    // Nothing but PINGRESP has come since.
    expect([...Buffer.concat(bytes)]).toEqual([0xd0, 0]);
  });
});

describe("a client id", () => {
  it("names the session: another id has another session, also one with U+FEFF [MQTT-3.1.3-2] [MQTT-3.1.4-4] [MQTT-1.5.4-3]", async () => {
    const test = await startTestBroker();
    const lasting = { properties: { sessionExpiryInterval: 60 } };
    const one = await connect5(test, { ...userOf(test, ["admin"], "one"), ...lasting });
    await one.subscribe("a");
    one.send({ cmd: "disconnect", reasonCode: 0 });
    await one.ended;
    const continued = async (clientId: string, clean: boolean) =>
      (await tryConnect5(test, { ...userOf(test, ["admin"], clientId), ...lasting, clean })).connack.sessionPresent;
    expect(await continued("two", false)).toBe(false);
    expect(await continued("\ufeffone", false)).toBe(false);
    expect(await continued("one", false)).toBe(true);
    expect(await continued("one", true)).toBe(false);
  });
});

describe("a will", () => {
  it("without RETAIN is not retained [MQTT-3.1.2-14]", async () => {
    const test = await startTestBroker();
    const reader = await connect5(test, userOf(test, ["admin"]));
    await reader.subscribe(EVENT, { rap: true });
    const will = { topic: EVENT, payload: Buffer.from("gone"), qos: 1, retain: false } as const;
    const north = await connect5(test, { ...NORTH5, will });
    north.socket.destroy();
    expect(await reader.next("publish")).toMatchObject({ payload: Buffer.from("gone"), retain: false });
    await reader.subscribe(EVENT, { rh: 0 });
    expect(await payloadsBeforePing(reader)).toEqual([]);
  });
});

describe("a retained message", () => {
  it("is replaced by a newer one, left by one that is not retained, and removed by an empty one [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7] [MQTT-3.3.1-8]", async () => {
    const test = await startTestBroker();
    const north = await connect5(test, NORTH5);
    const retained = async () => {
      const reader = await connect5(test, userOf(test, ["admin"]));
      await reader.subscribe(ABOUT);
      return (await reader.next("publish")).payload.toString();
    };
    await north.publish(ABOUT, "1", { retain: true });
    await north.publish(ABOUT, "2", { retain: true });
    expect(await retained()).toBe("2");
    await north.publish(ABOUT, "3");
    expect(await retained()).toBe("2");
    await north.publish(ABOUT, "", { retain: true });
    expect(test.broker.stats().retainedMessages).toBe(0);
  });
});

describe.each([0, 60])("with a session expiry interval of %i s", (sessionExpiryInterval) => {
  async function started(options: { receiveMaximum?: number; topicAliasMaximum?: number } = {}) {
    const test = await startTestBroker();
    const properties = { sessionExpiryInterval, ...options };
    const reader = await connect5(test, { ...userOf(test, ["admin"]), properties });
    const writer = await connect5(test, userOf(test, ["admin"], "writer"));
    return { test, reader, writer };
  }

  it("a PUBLISH of QoS 0 has no identifier and no DUP, and needs no answer [MQTT-2.2.1-2] [MQTT-4.3.1-1] [MQTT-3.3.4-1]", async () => {
    const { reader, writer } = await started();
    await reader.subscribe("a", { qos: 2 });
    await writer.publish("a", "x", { qos: 0 });
    const publish = await reader.next("publish");
    expect(publish).toMatchObject({ topic: "a", qos: 0, dup: false });
    expect(publish.messageId).toBeUndefined();
  });

  it("identifiers are above 0 and free, and acknowledgements repeat them [MQTT-2.2.1-4] [MQTT-2.2.1-5] [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.3-1] [MQTT-4.3.3-2]", async () => {
    const { reader, writer } = await started();
    await reader.subscribe("a", { qos: 2 });
    for (const [index, qos] of ([1, 2, 1, 2] as const).entries())
      await writer.publish("a", "x", { qos, messageId: 50 + index });
    const ids = new Set<number>();
    for (const qos of [1, 2, 1, 2]) {
      const publish = await reader.next("publish");
      expect(publish).toMatchObject({ qos, dup: false });
      ids.add(publish.messageId ?? 0);
    }
    expect(ids.size).toBe(4);
    expect(ids.has(0)).toBe(false);
    writer.send({ cmd: "publish", topic: "b", payload: "", qos: 1, messageId: 9, retain: false, dup: false });
    expect((await writer.next("puback")).messageId).toBe(9);
    writer.send({ cmd: "publish", topic: "b", payload: "", qos: 2, messageId: 10, retain: false, dup: false });
    expect((await writer.next("pubrec")).messageId).toBe(10);
    writer.send({ cmd: "pubrel", messageId: 10, reasonCode: 0 });
    expect((await writer.next("pubcomp")).messageId).toBe(10);
  });

  it("after PUBACK, an identifier stands for a new message [MQTT-4.3.2-4] [MQTT-4.3.2-5]", async () => {
    const { reader, writer } = await started();
    await reader.subscribe("a");
    for (const payload of ["1", "2"]) expect(await writer.publish("a", payload, { messageId: 3 })).toBe(0);
    expect(await payloadsBeforePing(reader)).toEqual(["1", "2"]);
  });

  it("DUP of an incoming PUBLISH is not passed on [MQTT-3.3.1-3]", async () => {
    const { reader, writer } = await started();
    await reader.subscribe("a");
    writer.send({ cmd: "publish", topic: "a", payload: "x", qos: 1, messageId: 4, retain: false, dup: true });
    expect(await reader.next("publish")).toMatchObject({ dup: false });
  });

  it("SUBACK and UNSUBACK repeat the identifier of their request, and have prescribed codes and no properties [MQTT-2.2.1-6] [MQTT-2.2.2-1] [MQTT-3.9.3-2] [MQTT-3.11.3-2]", async () => {
    const { reader } = await started();
    const subscriptions = ([0, 1, 2] as const).map((qos) => ({ topic: `a/${qos}`, qos, nl: false, rap: false, rh: 0 }));
    reader.send({ cmd: "subscribe", messageId: 21, subscriptions });
    expect(await reader.next("suback")).toMatchObject({ messageId: 21, granted: [0, 1, 2] });
    reader.send({ cmd: "unsubscribe", messageId: 22, unsubscriptions: ["a/0", "a/0"] });
    expect(await reader.next("unsuback")).toMatchObject({ messageId: 22, granted: [0, 0x11] });
  });

  it("a removed filter gets nothing new, and an exchange under way is completed [MQTT-3.10.4-2] [MQTT-3.10.4-3]", async () => {
    const { reader, writer } = await started();
    await reader.subscribe("a", { qos: 2 });
    await writer.publish("a", "1", { qos: 2 });
    const { messageId = 0 } = await reader.next("publish");
    reader.send({ cmd: "unsubscribe", messageId: 5, unsubscriptions: ["a"] });
    await reader.next("unsuback");
    await writer.publish("a", "2", { qos: 2, messageId: 8 });
    reader.send({ cmd: "pubrec", messageId, reasonCode: 0 });
    expect(await reader.next("pubrel")).toMatchObject({ messageId, reasonCode: 0 });
    reader.send({ cmd: "pubcomp", messageId, reasonCode: 0 });
    expect(await payloadsBeforePing(reader)).toEqual([]);
  });

  it("each subscriber of a topic gets its messages in order, with a topic that its filter selects [MQTT-4.5.0-1] [MQTT-4.6.0-5] [MQTT-4.6.0-6] [MQTT-3.3.2-3]", async () => {
    const { test, reader, writer } = await started();
    const other = await connect5(test, userOf(test, ["admin"], "other"));
    await reader.subscribe("a/+");
    await other.subscribe("a/#", { qos: 2 });
    const sent = Array.from({ length: 20 }, (_, index) => String(index));
    for (const payload of sent) await writer.publish("a/b", payload);
    for (const client of [reader, other]) {
      for (const payload of sent)
        expect(await client.next("publish")).toMatchObject({ topic: "a/b", payload: Buffer.from(payload) });
    }
  });

  it("at the receive maximum, SUBACK, PUBACK and PINGRESP are sent at once [MQTT-3.3.4-10] [MQTT-3.12.4-1]", async () => {
    const { reader, writer } = await started({ receiveMaximum: 1 });
    await reader.subscribe("a");
    for (const messageId of [1, 2]) await writer.publish("a", "x", { messageId });
    await reader.next("publish");
    expect(await reader.subscribe("b")).toBe(1);
    expect(await reader.publish("c", "x")).toBe(0);
    expect(await payloadsBeforePing(reader)).toEqual([]);
  });

  it("the server uses aliases up to the client's maximum, and the client all of the server's [MQTT-3.3.2-11] [MQTT-3.3.2-12]", async () => {
    const { reader, writer } = await started({ topicAliasMaximum: 2 });
    await reader.subscribe("a/+");
    for (let turn = 0; turn < 3; turn++)
      for (const name of ["a/1", "a/2", "a/3"]) await writer.publish(name, "x", { messageId: 1 });
    const aliases = new Set<number>();
    for (let index = 0; index < 9; index++) {
      const { properties } = await reader.next("publish");
      if (properties?.topicAlias !== undefined) aliases.add(properties.topicAlias);
    }
    expect([...aliases].every((alias) => alias >= 1 && alias <= 2)).toBe(true);
    await reader.subscribe("b/+");
    for (const topicAlias of [1, 64]) {
      await writer.publish(`b/${topicAlias}`, "x", { properties: { topicAlias } });
      await writer.publish("", "x", { properties: { topicAlias } });
      for (let index = 0; index < 2; index++) expect((await reader.next("publish")).topic).toBe(`b/${topicAlias}`);
    }
  });

  it("a refusing PUBACK ends the delivery [MQTT-4.4.0-2]", async () => {
    const { reader, writer } = await started({ receiveMaximum: 1 });
    await reader.subscribe("a");
    await writer.publish("a", "1", { messageId: 1 });
    await writer.publish("a", "2", { messageId: 2 });
    const { messageId = 0 } = await reader.next("publish");
    reader.send({ cmd: "puback", messageId, reasonCode: 0x83 });
    expect(await reader.next("publish")).toMatchObject({ payload: Buffer.from("2"), dup: false });
  });
});

describe("a session that continues", () => {
  const lasting = { clean: false, properties: { sessionExpiryInterval: 60, receiveMaximum: 10 } };

  it("repeats what was not acknowledged, in order, and nothing else [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.3-5] [MQTT-4.3.3-6] [MQTT-4.4.0-1] [MQTT-3.3.1-1]", async () => {
    const test = await startTestBroker();
    const options = { ...userOf(test, ["admin"]), ...lasting };
    const reader = await connect5(test, options);
    const writer = await connect5(test, userOf(test, ["admin"], "writer"));
    await reader.subscribe("a", { qos: 2 });
    for (const [index, qos] of ([1, 2, 2, 1] as const).entries())
      await writer.publish("a", String(index), { qos, messageId: index + 1 });
    const ids: number[] = [];
    for (let index = 0; index < 4; index++) ids.push((await reader.next("publish")).messageId ?? 0);
    const [, released = 0, , acknowledged = 0] = ids;
    reader.send({ cmd: "pubrec", messageId: released, reasonCode: 0 });
    await reader.next("pubrel");
    reader.send({ cmd: "puback", messageId: acknowledged, reasonCode: 0 });
    // No message is repeated while the connection is open.
    expect(await payloadsBeforePing(reader)).toEqual([]);
    reader.socket.destroy();
    await reader.ended;
    const again = await connect5(test, options);
    expect((await again.next("pubrel")).messageId).toBe(released);
    for (const [payload, messageId] of [
      ["0", ids[0]],
      ["2", ids[2]],
    ] as const)
      expect(await again.next("publish")).toMatchObject({ payload: Buffer.from(payload), messageId, dup: true });
    expect(await payloadsBeforePing(again)).toEqual([]);
  });

  it("repeats a message that has been sent, and completes its exchange, although the message has expired [MQTT-4.3.3-7] [MQTT-4.3.3-13]", async () => {
    const test = await startTestBroker();
    const options = { ...userOf(test, ["admin"]), ...lasting };
    const reader = await connect5(test, options);
    const writer = await connect5(test, userOf(test, ["admin"], "writer"));
    await reader.subscribe("a", { qos: 2 });
    await writer.publish("a", "1", { qos: 2, properties: { messageExpiryInterval: 1 } });
    const { messageId = 0 } = await reader.next("publish");
    reader.socket.destroy();
    await reader.ended;
    await expiry();
    const again = await connect5(test, options);
    expect(await again.next("publish")).toMatchObject({ messageId, dup: true, payload: Buffer.from("1") });
    again.send({ cmd: "pubrec", messageId, reasonCode: 0 });
    expect(await again.next("pubrel")).toMatchObject({ messageId, reasonCode: 0 });
  });
});

/** Resolves when a message with an expiry interval of a second has expired. */
function expiry(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1100));
}

describe("DISCONNECT", () => {
  it("of the server has a prescribed code, no session expiry interval, and nothing after it [MQTT-3.14.2-1] [MQTT-3.14.2-2] [MQTT-3.14.4-1] [MQTT-3.14.4-2]", async () => {
    const test = await startTestBroker();
    const options = { ...userOf(test, ["admin"]), properties: { sessionExpiryInterval: 60 } };
    const reader = await connect5(test, options);
    await reader.subscribe("#");
    await connect5(test, options);
    const { reasonCode, properties } = await reader.next("disconnect");
    expect(reasonCode).toBe(0x8e);
    expect(properties?.sessionExpiryInterval).toBeUndefined();
    await reader.ended;
    expect(reader.packets).toEqual([]);
  });

  it("and SUBACK leave out a reason string that makes them larger than the client allows [MQTT-3.14.2-3] [MQTT-3.9.2-1] [MQTT-3.5.2-2]", async () => {
    const test = await startTestBroker();
    const north = await connect5(test, { ...NORTH5, properties: { maximumPacketSize: 20 } });
    north.send({ cmd: "subscribe", messageId: 1, subscriptions: [{ topic: "a/#/b", qos: 0 }] });
    const suback = await north.next("suback");
    expect(suback).toMatchObject({ granted: [0x8f] });
    expect(suback.properties?.reasonString).toBeUndefined();
    north.send({ cmd: "publish", topic: "a", payload: "", qos: 2, messageId: 2, retain: false, dup: false });
    const pubrec = await north.next("pubrec");
    expect(pubrec).toMatchObject({ reasonCode: 0x87 });
    expect(pubrec.properties?.reasonString).toBeUndefined();
    north.sendBytes([0xf0, 0]);
    const disconnect = await north.next("disconnect");
    expect(disconnect).toMatchObject({ reasonCode: 0x82 });
    expect(disconnect.properties?.reasonString).toBeUndefined();
  });

  it("of a client ends everything: a packet behind it is not handled [MQTT-3.14.4-1]", async () => {
    const test = await startTestBroker();
    const north = await connect5(test, NORTH5);
    north.send(
      { cmd: "disconnect", reasonCode: 0 },
      { cmd: "publish", topic: EVENT, payload: "{}", qos: 1, messageId: 1, retain: false, dup: false },
    );
    await north.ended;
    expect(test.ingest.accepted).toEqual([]);
  });
});

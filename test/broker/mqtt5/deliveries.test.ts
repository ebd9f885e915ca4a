import { describe, expect, it } from "vitest";
import { startTestBroker, topic } from "../broker-under-test.ts";
import { type Client5, type Connect5, connect5, NORTH5, userOf } from "./client5.ts";

const COMMAND = topic("cameras/north/commands/capture.now");

async function connectedReader(options: Connect5, filter = "a/#") {
  const test = await startTestBroker();
  const reader = await connect5(test, { ...userOf(test, ["admin"]), ...options });
  const writer = await connect5(test, userOf(test, ["admin"], "writer"));
  await reader.subscribe(filter, { qos: 2 });
  return { test, reader, writer };
}

/** The payloads of the publications that came before the client's answer to a ping. */
async function payloadsBeforePing(client: Client5): Promise<string[]> {
  await client.ping();
  const publishes = client.packets.filter((packet) => packet.cmd === "publish");
  client.packets.splice(0);
  return publishes.map(({ payload }) => payload.toString());
}

describe.each([0, 60])("with a session expiry interval of %i s", (sessionExpiryInterval) => {
  it("at most as many publications of QoS 1 and 2 as the receive maximum are not acknowledged [MQTT-3.3.4-9] [MQTT-4.9.0-1] [MQTT-4.9.0-2] [MQTT-4.9.0-3]", async () => {
    const { reader, writer } = await connectedReader({ properties: { sessionExpiryInterval, receiveMaximum: 2 } });
    for (const [index, qos] of ([1, 2, 1, 1, 0] as const).entries())
      await writer.publish("a/b", String(index), { qos, messageId: index + 1 });
    const first = await reader.next("publish");
    const second = await reader.next("publish");
    expect([first.payload.toString(), second.payload.toString()]).toEqual(["0", "1"]);
    // QoS 0 needs no acknowledgement.
    expect(await payloadsBeforePing(reader)).toEqual(["4"]);
    // PUBREC does not make room, and PUBCOMP does.
    reader.send({ cmd: "pubrec", messageId: second.messageId ?? 0, reasonCode: 0 });
    await reader.next("pubrel");
    expect(await payloadsBeforePing(reader)).toEqual([]);
    reader.send({ cmd: "pubcomp", messageId: second.messageId ?? 0, reasonCode: 0 });
    const third = await reader.next("publish");
    expect(third.payload.toString()).toBe("2");
    reader.send({ cmd: "puback", messageId: first.messageId ?? 0, reasonCode: 0 });
    expect((await reader.next("publish")).payload.toString()).toBe("3");
  });

  it("a PUBREC with a failure ends the exchange, and makes room", async () => {
    const { reader, writer } = await connectedReader({ properties: { sessionExpiryInterval, receiveMaximum: 1 } });
    await writer.publish("a/b", "1", { qos: 2, messageId: 1 });
    await writer.publish("a/b", "2", { qos: 2, messageId: 2 });
    const { messageId = 0 } = await reader.next("publish");
    reader.send({ cmd: "pubrec", messageId, reasonCode: 0x97 });
    expect((await reader.next("publish")).payload.toString()).toBe("2");
    expect(reader.packets).toEqual([]);
  });

  it("a PUBREC of an unknown message is answered with PUBREL 0x92 [MQTT-3.6.2-1]", async () => {
    const { reader } = await connectedReader({ properties: { sessionExpiryInterval } });
    reader.send({ cmd: "pubrec", messageId: 77, reasonCode: 0 });
    expect(await reader.next("pubrel")).toMatchObject({ messageId: 77, reasonCode: 0x92 });
  });

  it("a packet above the client's maximum packet size is not sent, and counts as delivered [MQTT-3.1.2-24] [MQTT-3.1.2-25]", async () => {
    const { reader, writer } = await connectedReader({
      properties: { sessionExpiryInterval, maximumPacketSize: 60, receiveMaximum: 1 },
    });
    await writer.publish("a/b", "x".repeat(100));
    await writer.publish("a/b", "x".repeat(100), { qos: 0 });
    await writer.publish("a/b", "x".repeat(20), { properties: { contentType: "y".repeat(40) } });
    await writer.publish("a/b", "small");
    expect((await reader.next("publish")).payload.toString()).toBe("small");
  });

  it("a topic that comes again gets an alias, if the client allows one [MQTT-3.1.2-26] [MQTT-3.1.2-27]", async () => {
    const { reader, writer } = await connectedReader({ properties: { sessionExpiryInterval, topicAliasMaximum: 1 } });
    for (const name of ["a/b", "a/b", "a/b", "a/c", "a/c", "a/b"]) await writer.publish(name, "x");
    const seen: unknown[] = [];
    for (let index = 0; index < 6; index++) {
      const { topic: name, properties } = await reader.next("publish");
      seen.push([name, properties?.topicAlias]);
    }
    expect(seen).toEqual([
      ["a/b", undefined],
      ["a/b", 1],
      ["", 1],
      ["a/c", undefined],
      ["a/c", undefined],
      ["", 1],
    ]);
  });

  it("an acknowledged command is reported as delivered, and a refused one is not", async () => {
    const test = await startTestBroker();
    const delivered: string[] = [];
    test.broker.onDelivered(({ identity, payload }) => delivered.push(`${identity} ${payload}`));
    const north = await connect5(test, { ...NORTH5, properties: { sessionExpiryInterval } });
    await north.subscribe(topic("cameras/north/commands/+"));
    for (const reasonCode of [0x87, 0]) {
      await test.broker.publish({ topic: COMMAND, payload: Buffer.from(`${reasonCode}`), qos: 1, retain: false });
      const { messageId = 0 } = await north.next("publish");
      north.send({ cmd: "puback", messageId, reasonCode });
    }
    await north.ping();
    expect(delivered).toEqual(["device:north 0"]);
  });
});

it("a message that waits has its expiry lowered by the time that it waited, and is not sent when it has expired [MQTT-3.3.2-5] [MQTT-3.3.2-6]", async () => {
  const { reader, writer } = await connectedReader({ properties: { receiveMaximum: 1 } });
  await writer.publish("a/b", "first");
  await writer.publish("a/b", "expires", { properties: { messageExpiryInterval: 1 } });
  await writer.publish("a/b", "lasts", { properties: { messageExpiryInterval: 10 } });
  const { messageId = 0 } = await reader.next("publish");
  await new Promise((resolve) => setTimeout(resolve, 1100));
  reader.send({ cmd: "puback", messageId, reasonCode: 0 });
  const { payload, properties } = await reader.next("publish");
  expect(payload.toString()).toBe("lasts");
  expect(properties?.messageExpiryInterval).toBeLessThan(10);
});

it("a PUBACK for a message of QoS 2 ends the connection with 0x82", async () => {
  const { reader, writer } = await connectedReader({});
  await writer.publish("a/b", "x", { qos: 2 });
  const { messageId = 0 } = await reader.next("publish");
  reader.send({ cmd: "puback", messageId, reasonCode: 0 });
  expect((await reader.next("disconnect")).reasonCode).toBe(0x82);
});

it("a client without a session that lets too much wait is disconnected with 0x97", async () => {
  const test = await startTestBroker({ env: { MAX_MQTT_UNSENT_BYTES: "10000" } });
  const reader = await connect5(test, { ...userOf(test, ["admin"]), properties: { receiveMaximum: 1 } });
  await reader.subscribe("a", { qos: 1 });
  const writer = await connect5(test, userOf(test, ["admin"], "writer"));
  for (let index = 0; index < 13; index++) await writer.publish("a", "x".repeat(1000));
  expect((await reader.next("disconnect")).reasonCode).toBe(0x97);
  await reader.ended;
  expect(test.broker.stats().slowClients).toBe(1);
});

it("a client that reads nothing for MQTT_DRAIN_TIMEOUT_MS is disconnected, and delays nobody", async () => {
  const test = await startTestBroker({ env: { MQTT_DRAIN_TIMEOUT_MS: "200", MAX_MQTT_UNSENT_BYTES: "0" } });
  const reader = await connect5(test, userOf(test, ["admin"]));
  await reader.subscribe("a", { qos: 1 });
  reader.socket.pause();
  const writer = await connect5(test, userOf(test, ["admin"], "writer"));
  await writer.subscribe("b");
  for (let index = 0; test.broker.stats().clients === 2; index++) {
    await writer.publish("a", "x".repeat(200_000));
    await writer.publish("b", String(index));
    expect((await writer.next("publish")).payload.toString()).toBe(String(index));
  }
  expect(await test.logged("drain timeout")).toMatchObject({ clientId: "reader" });
});

import { generate } from "mqtt-packet";
import { describe, expect, it } from "vitest";
import { startTestBroker } from "../broker-under-test.ts";
import { Client5, connect5, connectPacket5, NORTH5, tryConnect5, userOf } from "./client5.ts";

/** A CONNECT of north whose bytes the function changes. */
function changed(change: (bytes: Buffer) => void): Buffer {
  const bytes = generate(connectPacket5(NORTH5), { protocolVersion: 5 });
  change(bytes);
  return bytes;
}

const FLAGS_AT = 9;

describe("CONNACK", () => {
  it("accepts with the limits of the server, and no session present [MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.2.2-2] [MQTT-3.1.2-21] [MQTT-3.2.2-21]", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_KEEPALIVE_SECONDS: "30" } });
    const { client, connack } = await tryConnect5(test, { ...NORTH5, keepalive: 60 });
    expect(connack).toMatchObject({ sessionPresent: false, reasonCode: 0 });
    expect(connack.properties).toMatchObject({ receiveMaximum: 1000, topicAliasMaximum: 64, serverKeepAlive: 30 });
    expect(connack.properties?.maximumPacketSize).toBeGreaterThan(262_144);
    await client.ping();
    expect(client.packets).toEqual([]);
  });

  it("assigns a client id to a client without one [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]", async () => {
    const test = await startTestBroker();
    const { connack } = await tryConnect5(test, { ...userOf(test, ["admin"]), clientId: "" });
    const other = await tryConnect5(test, { ...userOf(test, ["admin"]), clientId: "" });
    const assigned = connack.properties?.assignedClientIdentifier;
    expect(assigned).toMatch(/^auto-/);
    expect(other.connack.properties?.assignedClientIdentifier).not.toBe(assigned);
  });

  it("lowers a session expiry interval to MQTT_SESSION_HOURS, and says so", async () => {
    const test = await startTestBroker({ env: { MQTT_SESSION_HOURS: "1" } });
    const properties = { sessionExpiryInterval: 4000 };
    expect((await tryConnect5(test, { ...NORTH5, properties })).connack.properties).toMatchObject({
      sessionExpiryInterval: 3600,
    });
    const shorter = await tryConnect5(test, { ...NORTH5, properties: { sessionExpiryInterval: 5 } });
    expect(shorter.connack.properties?.sessionExpiryInterval).toBeUndefined();
  });

  it.each([
    ["0x86 for a wrong secret", { password: Buffer.from("wrong") }, 0x86],
    ["0x87 for a client without a password [MQTT-3.1.2-18]", { password: undefined, username: undefined }, 0x87],
    ["0x85 for a client id of another device [MQTT-3.1.3-8]", { clientId: "camera-south" }, 0x85],
    ["0x85 for a client id with a control character", { clientId: "a\u0001" }, 0x85],
    ["0x8c for enhanced authentication [MQTT-4.12.0-1]", { properties: { authenticationMethod: "SCRAM" } }, 0x8c],
  ])("refuses with %s, and closes [MQTT-3.2.2-6] [MQTT-3.2.2-7]", async (_, options, code) => {
    const test = await startTestBroker();
    const { username, password, ...rest } = { ...NORTH5, ...options };
    const login = username === undefined || password === undefined ? {} : { username, password };
    const { client, connack } = await tryConnect5(test, { ...rest, ...login });
    expect(connack).toMatchObject({ reasonCode: code, sessionPresent: false });
    await client.ended;
    expect(client.packets).toEqual([]);
  });

  it("names a limit in its reason string, and no detail of a wrong secret", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_CONNECTIONS_PER_USER: "1" } });
    await connect5(test, userOf(test, ["admin"], "one"));
    const { connack } = await tryConnect5(test, userOf(test, ["admin"], "two"));
    expect(connack).toMatchObject({
      reasonCode: 0x97,
      properties: { reasonString: "user:alice already has 1 connection" },
    });
    const wrong = await tryConnect5(test, { ...NORTH5, password: Buffer.from("wrong") });
    expect(wrong.connack.properties?.reasonString).not.toContain("secret");
  });

  it("leaves out a reason string that the client has no room for [MQTT-3.2.2-19]", async () => {
    const test = await startTestBroker();
    const options = { ...NORTH5, clientId: "camera-south", properties: { maximumPacketSize: 20 } };
    expect((await tryConnect5(test, options)).connack).toMatchObject({ reasonCode: 0x85 });
  });
});

describe("a malformed CONNECT", () => {
  it.each<[string, Buffer, number]>([
    ["the reserved flag [MQTT-3.1.2-3]", changed((bytes) => bytes.writeUInt8(0xc3, FLAGS_AT)), 0x81],
    ["a QoS of a will without a will [MQTT-3.1.2-11]", changed((bytes) => bytes.writeUInt8(0xca, FLAGS_AT)), 0x81],
    ["RETAIN of a will without a will [MQTT-3.1.2-13]", changed((bytes) => bytes.writeUInt8(0xe2, FLAGS_AT)), 0x81],
    ["flags in the fixed header [MQTT-2.1.3-1]", changed((bytes) => bytes.writeUInt8(0x11, 0)), 0x81],
    ["bytes after its fields", withByteMore(), 0x81],
    ["a topic alias", withProperties([0x23, 0, 1]), 0x81],
    ["a receive maximum of 0", withProperties([0x21, 0, 0]), 0x82],
    ["a maximum packet size of 0", withProperties([0x27, 0, 0, 0, 0]), 0x82],
    ["two session expiry intervals", withProperties([0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1]), 0x82],
    ["request problem information of 2", withProperties([0x17, 2]), 0x82],
    ["authentication data without a method", withProperties([0x16, 0, 1, 1]), 0x82],
    ["a truncated user property", withProperties([0x26, 0, 1, 97]), 0x81],
    ["a length of properties in more bytes than needed [MQTT-1.5.5-1]", withLength([0x80, 0x00]), 0x81],
  ])("with %s is refused", async (_, bytes, code) => {
    const test = await startTestBroker();
    const client = new Client5(test.broker.ports.mqtt);
    client.sendBytes(bytes);
    expect((await client.next("connack")).reasonCode).toBe(code);
    await client.ended;
    expect(test.broker.stats().clients).toBe(0);
  });

  it("with a will with a truncated user property is refused, so that no subscriber gets it", async () => {
    const test = await startTestBroker();
    const client = new Client5(test.broker.ports.mqtt);
    const will = { topic: "a", payload: Buffer.from("x"), properties: { userProperties: { name: "v" } } };
    const bytes = generate(connectPacket5({ ...NORTH5, will }), { protocolVersion: 5 });
    // The value is one byte longer than the properties.
    const at = bytes.indexOf("name") + "name".length;
    bytes.writeUInt16BE(2, at);
    client.sendBytes(bytes);
    expect((await client.next("connack")).reasonCode).toBe(0x81);
    await client.ended;
  });

  it.each<[string, NonNullable<Parameters<typeof connectPacket5>[0]["will"]>, number]>([
    ["QoS 3 [MQTT-3.1.2-12]", { topic: "a", payload: Buffer.from("x") }, 0x81],
    ["a wildcard in its topic", { topic: "a/#", payload: Buffer.from("x") }, 0x90],
    [
      "a payload that is not UTF-8, as its payload format says",
      { topic: "a", payload: Buffer.from([0xff]), properties: { payloadFormatIndicator: true } },
      0x99,
    ],
  ])("with a will with %s is refused", async (name, will, code) => {
    const test = await startTestBroker();
    const client = new Client5(test.broker.ports.mqtt);
    const bytes = generate(connectPacket5({ ...NORTH5, will }), { protocolVersion: 5 });
    if (name.startsWith("QoS 3")) bytes.writeUInt8(bytes.readUInt8(FLAGS_AT) | 0x18, FLAGS_AT);
    client.sendBytes(bytes);
    expect((await client.next("connack")).reasonCode).toBe(code);
    await client.ended;
  });
});

describe("after CONNECT", () => {
  it("a second CONNECT ends the connection with DISCONNECT 0x82 [MQTT-3.1.0-2]", async () => {
    const test = await startTestBroker();
    const client = await connect5(test, NORTH5);
    client.send(connectPacket5(NORTH5));
    expect((await client.next("disconnect")).reasonCode).toBe(0x82);
    await client.ended;
  });

  it("a client that pipelines packets behind its CONNECT gets the CONNACK first [MQTT-3.2.0-1] [MQTT-3.1.4-6]", async () => {
    const test = await startTestBroker();
    const client = new Client5(test.broker.ports.mqtt);
    client.send(connectPacket5(NORTH5), { cmd: "pingreq" }, { cmd: "pingreq" });
    await client.next("pingresp");
    expect(client.packets.map(({ cmd }) => cmd)).toEqual(["connack", "pingresp"]);
  });

  it.each<[string, readonly number[], number]>([
    ["an AUTH [MQTT-4.12.0-6] [MQTT-4.12.0-7]", [0xf0, 0], 0x82],
    ["a CONNACK", [0x20, 3, 0, 0, 0], 0x82],
    ["a packet of type 0", [0x00, 0], 0x82],
    ["a PINGREQ with flags [MQTT-2.1.3-1]", [0xc1, 0], 0x81],
    ["a SUBSCRIBE without filters [MQTT-3.8.3-2]", [0x82, 3, 0, 1, 0], 0x82],
    ["a SUBSCRIBE with packet identifier 0 [MQTT-2.2.1-3]", [0x82, 7, 0, 0, 0, 0, 1, 97, 0], 0x82],
    ["a SUBSCRIBE with reserved options [MQTT-3.8.3-5]", [0x82, 7, 0, 1, 0, 0, 1, 97, 0x40], 0x81],
    ["a SUBSCRIBE of QoS 3", [0x82, 7, 0, 1, 0, 0, 1, 97, 3], 0x82],
    ["a SUBSCRIBE with identifier 0", [0x82, 9, 0, 1, 2, 0x0b, 0, 0, 1, 97, 0], 0x82],
    ["an UNSUBSCRIBE without filters [MQTT-3.10.3-2]", [0xa2, 3, 0, 1, 0], 0x82],
    ["a PUBREL with wrong flags", [0x60, 2, 0, 1], 0x81],
    ["a packet whose length has five bytes", [0x32, 0x80, 0x80, 0x80, 0x80, 0x01], 0x81],
    ["a packet above the maximum packet size [MQTT-3.2.2-15]", [0x32, 0xff, 0xff, 0x7f], 0x95],
  ])("%s ends the connection with its reason code [MQTT-4.13.1-1]", async (_, bytes, code) => {
    const test = await startTestBroker();
    const client = await connect5(test, NORTH5);
    client.sendBytes(bytes);
    const { reasonCode, properties } = await client.next("disconnect");
    expect({ reasonCode, hasReason: (properties?.reasonString ?? "").length > 0 }).toEqual({
      reasonCode: code,
      hasReason: true,
    });
    await client.ended;
  });

  it("a client that is silent for one and a half times its keep-alive gets DISCONNECT 0x8d [MQTT-3.1.2-22]", async () => {
    const test = await startTestBroker();
    const client = await connect5(test, { ...NORTH5, keepalive: 1 });
    expect((await client.next("disconnect")).reasonCode).toBe(0x8d);
    await client.ended;
  });
});

function withByteMore(): Buffer {
  const bytes = generate(connectPacket5(NORTH5), { protocolVersion: 5 });
  bytes.writeUInt8(bytes.readUInt8(1) + 1, 1);
  return Buffer.concat([bytes, Buffer.from([0])]);
}

/** A CONNECT of north with these bytes as its properties. */
function withProperties(properties: readonly number[]): Buffer {
  return withLength([properties.length], properties);
}

/** @param length the bytes of the length of the properties */
function withLength(length: readonly number[], properties: readonly number[] = []): Buffer {
  const bytes = generate(connectPacket5(NORTH5), { protocolVersion: 5 });
  const body = Buffer.concat([bytes.subarray(2, 12), Buffer.from([...length, ...properties]), bytes.subarray(13)]);
  return Buffer.concat([Buffer.from([0x10, body.length]), body]);
}

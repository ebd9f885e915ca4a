import { describe, expect, it } from "vitest";
import { startTestBroker } from "../broker-under-test.ts";
import { Client5, connect5, NORTH5, tryConnect5, userOf } from "./client5.ts";

const text = (value: string): number[] => [value.length >> 8, value.length & 255, ...Buffer.from(value)];
const packet = (first: number, ...body: number[]): number[] => [first, body.length, ...body];
const NOT_UTF8 = [0, 2, 0xc3, 0x28];

/** A CONNECT with these flags and fields. Its keep-alive is a minute, and it has no properties. */
function connectBytes(flags: number, fields: readonly number[], name = "MQTT", level = 5): number[] {
  return packet(0x10, ...text(name), level, flags, 0, 60, 0, ...fields);
}

describe("a CONNECT", () => {
  it.each<[string, readonly number[]]>([
    ["another protocol name [MQTT-3.1.2-1]", connectBytes(0x02, text("a"), "MQTX")],
    ["an unknown protocol version [MQTT-3.1.2-2]", connectBytes(0x02, text("a"), "MQTT", 6)],
  ])("with %s closes the connection", async (_, bytes) => {
    const test = await startTestBroker();
    const client = new Client5(test.broker.ports.mqtt);
    client.sendBytes(bytes);
    await client.ended;
    expect(test.broker.stats().clients).toBe(0);
  });

  it.each<[string, readonly number[]]>([
    ["a will flag and no will [MQTT-3.1.2-9]", connectBytes(0x06, text("a"))],
    ["a user name and no flag for it [MQTT-3.1.2-16]", connectBytes(0x02, [...text("a"), ...text("alice")])],
    ["a flag for a user name and none [MQTT-3.1.2-17]", connectBytes(0x82, text("a"))],
    ["a flag for a password and none [MQTT-3.1.2-19]", connectBytes(0xc2, [...text("a"), ...text("alice")])],
    ["no client id [MQTT-3.1.3-3]", connectBytes(0x02, [])],
    ["a client id that is not UTF-8 [MQTT-3.1.3-4]", connectBytes(0x02, NOT_UTF8)],
    [
      "a will topic that is not UTF-8 [MQTT-3.1.3-11]",
      connectBytes(0x06, [...text("a"), 0, ...NOT_UTF8, ...text("gone")]),
    ],
    ["a user name that is not UTF-8 [MQTT-3.1.3-12]", connectBytes(0x82, [...text("a"), ...NOT_UTF8])],
  ])(
    "with %s gets CONNACK 0x81 and the connection closes [MQTT-3.1.4-1] [MQTT-3.2.2-7] [MQTT-4.13.2-1]",
    async (_, bytes) => {
      const test = await startTestBroker();
      const client = new Client5(test.broker.ports.mqtt);
      client.sendBytes(bytes);
      expect(await client.next("connack")).toMatchObject({ reasonCode: 0x81, sessionPresent: false });
      await client.ended;
      expect(client.packets).toEqual([]);
    },
  );

  it("that the access rules refuse gets one CONNACK, and the connection closes [MQTT-3.1.4-2] [MQTT-3.2.0-2]", async () => {
    const test = await startTestBroker();
    const { client, connack } = await tryConnect5(test, { ...NORTH5, password: Buffer.from("wrong") });
    expect(connack.reasonCode).toBe(0x86);
    await client.ended;
    expect(client.packets).toEqual([]);
  });

  it("precedes all other packets: the connection closes at another first packet [MQTT-3.1.0-1]", async () => {
    const test = await startTestBroker();
    const client = new Client5(test.broker.ports.mqtt);
    client.send({ cmd: "pingreq" });
    await client.ended;
    expect(client.packets).toEqual([]);
  });

  it("may have a client id of 1 to 23 letters and digits [MQTT-3.1.3-5]", async () => {
    const test = await startTestBroker();
    for (const clientId of ["0", "abcdefghijklmnopqrstuvw", "ABCDEFGHIJKLMNOPQRSTUVW", "XYZxyz0123456789"])
      expect((await tryConnect5(test, userOf(test, ["admin"], clientId))).connack.reasonCode).toBe(0);
  });
});

describe("a malformed packet", () => {
  it.each<[string, readonly number[], number]>([
    ["a PUBREL with other flags [MQTT-3.6.1-1]", packet(0x60, 0, 1), 0x81],
    ["a SUBSCRIBE with other flags [MQTT-3.8.1-1]", packet(0x80, 0, 1, 0, ...text("a"), 0), 0x81],
    ["an UNSUBSCRIBE with other flags [MQTT-3.10.1-1]", packet(0xa0, 0, 1, 0, ...text("a")), 0x81],
    ["a DISCONNECT with flags [MQTT-3.14.1-1]", packet(0xe1), 0x81],
    ["an AUTH with flags [MQTT-3.15.1-1]", packet(0xf1), 0x81],
    ["a topic that is not UTF-8 [MQTT-3.3.2-1]", packet(0x30, ...NOT_UTF8, 0), 0x81],
    ["a filter that is not UTF-8 [MQTT-3.8.3-1]", packet(0x82, 0, 1, 0, ...NOT_UTF8, 0), 0x81],
    ["a filter of UNSUBSCRIBE that is not UTF-8 [MQTT-3.10.3-1]", packet(0xa2, 0, 1, 0, ...NOT_UTF8), 0x81],
    ["a filter with U+0000 [MQTT-4.7.3-2]", packet(0x82, 0, 1, 0, 0, 1, 0, 0), 0x81],
    ["a response topic that is not UTF-8 [MQTT-3.3.2-13]", packet(0x30, ...text("a"), 5, 0x08, ...NOT_UTF8), 0x81],
    ["a content type that is not UTF-8 [MQTT-3.3.2-19]", packet(0x30, ...text("a"), 5, 0x03, ...NOT_UTF8), 0x81],
    [
      "a user property whose value is not UTF-8 [MQTT-1.5.7-1]",
      packet(0x30, ...text("a"), 8, 0x26, ...text("k"), ...NOT_UTF8),
      0x81,
    ],
  ])(
    "%s ends the connection with DISCONNECT, and closes it [MQTT-4.13.1-1] [MQTT-3.14.4-2]",
    async (_, bytes, code) => {
      const test = await startTestBroker();
      const north = await connect5(test, NORTH5);
      north.sendBytes(bytes);
      expect((await north.next("disconnect")).reasonCode).toBe(code);
      await north.ended;
      expect(north.packets).toEqual([]);
    },
  );
});

describe("a filter", () => {
  it.each([
    ["with # inside [MQTT-4.7.1-1]", "a/#/b"],
    ["with # beside a letter [MQTT-4.7.1-1]", "a#"],
    ["with + beside a letter [MQTT-4.7.1-2]", "a/b+"],
    ["without a character [MQTT-4.7.3-1]", ""],
  ])("%s gets the reason code 0x8f", async (_, filter) => {
    const test = await startTestBroker();
    const reader = await connect5(test, userOf(test, ["admin"]));
    expect(await reader.subscribe(filter)).toBe(0x8f);
    expect(await reader.subscribe("a/+/#")).toBe(1);
  });

  it("is compared with a topic as it is: case, spaces and slashes matter [MQTT-4.7.3-4]", async () => {
    const test = await startTestBroker();
    const reader = await connect5(test, userOf(test, ["admin"]));
    const names = ["a/b", "a//b", "/a", "a b"];
    for (const name of names) expect(await reader.subscribe(name, { qos: 0 })).toBe(0);
    for (const name of ["A/b", "a/b/", "a", "a  b", "A", "a//c"]) await reader.publish(name, "other", { qos: 0 });
    for (const name of names) await reader.publish(name, "same", { qos: 1 });
    for (const name of names)
      expect(await reader.next("publish")).toMatchObject({ topic: name, payload: Buffer.from("same") });
  });

  it("of 65,535 bytes is longer than a topic may be, and is refused [MQTT-4.7.3-3]", async () => {
    const test = await startTestBroker();
    const reader = await connect5(test, userOf(test, ["admin"]));
    expect(await reader.subscribe("a".repeat(65_535))).toBeGreaterThanOrEqual(0x80);
    await reader.ping();
  });
});

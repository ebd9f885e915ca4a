import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestBroker } from "../broker/broker-under-test.ts";
import { idPacket, PINGREQ, packet, publishPacket, rawClient, subscribePacket, TYPE } from "../broker/raw-client.ts";
import {
  answerTo,
  anyConnect,
  connectOf,
  field,
  NO_UTF8,
  type Program,
  ROOT,
  SECRET,
  startProgram,
  TRANSPORTS,
} from "./mqtt-program.ts";
import { frame } from "./raw-web-socket.ts";

let program: Program;

beforeAll(async () => {
  program = await startProgram();
});
afterAll(() => program.stop());

const EVENT = `${ROOT}/cameras/north/events/capture.completed`;
const own = (below: string) => `${ROOT}/cameras/north/${below}`;
const pieces = (...parts: (string | Buffer | number[])[]) =>
  Buffer.concat(parts.map((part) => (Array.isArray(part) ? Buffer.from(part) : Buffer.from(part))));

describe("a CONNECT", () => {
  it.each<[string, Buffer, number | "closed"]>([
    ["of MQTT 3.1 without a password", anyConnect({ protocol: "MQIsdp", level: 3, password: "" }), 5],
    ["of MQTT 3.1 without a client id", anyConnect({ protocol: "MQIsdp", level: 3, clientId: "" }), 2],
    ["of MQTT 2", anyConnect({ level: 2 }), "closed"],
    ["of MQTT 6", anyConnect({ level: 6 }), "closed"],
    ["of another protocol", anyConnect({ protocol: "MQTS" }), "closed"],
    ["of the protocol __proto__", anyConnect({ protocol: "__proto__" }), "closed"],
    ["with the reserved flag", anyConnect({ flags: 0xc3 }), "closed"],
    ["with a QoS for a will but without a will", anyConnect({ flags: 0xca }), "closed"],
    ["with the retain flag for a will but without a will", anyConnect({ flags: 0xe2 }), "closed"],
    ["with a will of QoS 3", anyConnect({ flags: 0xde, will: { topic: own("about"), payload: "gone" } }), 5],
    ["with reserved bits in its fixed header", packet(0x11, anyConnect().subarray(2)), "closed"],
    ["without content", packet(0x10, Buffer.alloc(0)), "closed"],
    ["that ends within its client id", packet(0x10, anyConnect().subarray(2, 14)), "closed"],
    ["that ends before its password", packet(0x10, anyConnect().subarray(2, -SECRET.length - 2)), "closed"],
    ["that claims 4,097 bytes", packet(0x10, Buffer.alloc(0), 4097), "closed"],
    ["that claims 256 MB", packet(0x10, Buffer.alloc(0), 268_435_455), "closed"],
    ["whose length has five bytes", pieces([0x10, 0x80, 0x80, 0x80, 0x80, 0x01]), "closed"],
    ["whose length never ends", pieces([0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), "closed"],
  ])("%s is rejected", async (_, bytes, answer) => {
    expect(await answerTo(program.port, bytes)).toBe(answer);
  });

  it.each<[string, string | Buffer]>([
    ["of 129 characters", "a".repeat(129)],
    ["with a newline", "a\nb"],
    ["with NUL", "a\u0000b"],
    ["with U+202E", "a\u202eb"],
    ["with DEL", "a\u007fb"],
    ["with a control character in two bytes", "a\u0085b"],
    ["with the line separator U+2028", "a\u2028b"],
    ["with a noncharacter", "a\ufffeb"],
    ...NO_UTF8.map(([title, bytes]) => [`with ${title}`, bytes] as [string, Buffer]),
  ])("with a client id %s gets CONNACK 2", async (_, clientId) => {
    expect(await answerTo(program.port, anyConnect({ clientId }))).toBe(2);
  });

  it.each<[string, string]>([
    ["with a space", "a b"],
    ["in several languages", "Küche/кухня 台所"],
    ["with an emoji of several characters", "a\u{1f469}\u200d\u{1f4f7}"],
    ["that begins with U+FEFF, like the client ids of Eclipse Paho's tests,", "\ufeffmyclientid"],
    ["of 128 characters", "a".repeat(128)],
  ])("with a client id %s is accepted", async (_, clientId) => {
    const client = await program.client("north", { clientId });
    expect(client.connected).toBe(true);
  });

  it("with an empty client id and a persistent session gets CONNACK 2", async () => {
    expect(await answerTo(program.port, anyConnect({ clientId: "", flags: 0xc0 }))).toBe(2);
  });

  it.each(["__proto__", "constructor", "hasOwnProperty", "toString"])(
    "with the client id %s is treated like any other, and has its own session",
    async (clientId) => {
      const first = await program.client("north", { clientId, clean: false });
      await first.publishAsync(EVENT, "1", { qos: 1 });
      await first.subscribeAsync(own("commands/+"), { qos: 1 });
      await first.endAsync();
      expect(await program.published()).toEqual([EVENT]);
      const south = await program.client("south");
      await south.publishAsync(`${ROOT}/cameras/south/about`, "1", { qos: 1 });
      expect(await program.published()).toEqual([`${ROOT}/cameras/south/about`]);
      await (await program.client("north", { clientId, clean: true })).endAsync();
    },
  );
});

describe("before CONNECT", () => {
  it.each<[string, Buffer]>([
    ["a PUBLISH", publishPacket({ topic: EVENT, payload: "x", qos: 1, id: 1 })],
    ["a SUBSCRIBE", subscribePacket([["#", 1]])],
    ["an UNSUBSCRIBE", packet(0xa2, pieces([0, 1], field("#")))],
    ["a PINGREQ", PINGREQ],
    ["a DISCONNECT", packet(0xe0, Buffer.alloc(0))],
    ["a PUBREL", idPacket(TYPE.pubrel, 1)],
    ["a CONNACK", packet(0x20, pieces([0, 0]))],
    ["a packet of type 0", packet(0x00, Buffer.alloc(0))],
    ["an AUTH of MQTT 5", packet(0xf0, Buffer.alloc(0))],
    ["TLS", pieces([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])],
    ["HTTP", pieces("GET / HTTP/1.1\r\nHost: x\r\n\r\n")],
  ])("%s closes the connection", async (_, bytes) => {
    expect(await answerTo(program.port, Buffer.concat([bytes, connectOf("north")]))).toBe("closed");
  });
});

/** Connects as north, and then sends the bytes. */
async function sentByNorth(bytes: Buffer): Promise<Awaited<ReturnType<typeof rawClient>>> {
  const north = await rawClient(program.port);
  north.send(connectOf("north"));
  expect((await north.next(TYPE.connack)).readUInt8(1)).toBe(0);
  north.send(bytes);
  return north;
}

const publication = (topic: string | Buffer, firstByte = 0x32) => packet(firstByte, pieces(field(topic), [0, 7], "x"));

describe("after CONNECT", () => {
  it.each<[string, Buffer]>([
    ["a second CONNECT", connectOf("north")],
    ["a CONNACK", packet(0x20, pieces([0, 0]))],
    ["a SUBACK", packet(0x90, pieces([0, 1, 0]))],
    ["a PINGRESP", packet(0xd0, Buffer.alloc(0))],
    ["a packet of type 0", packet(0x00, Buffer.alloc(0))],
    ["an AUTH of MQTT 5", packet(0xf0, Buffer.alloc(0))],
    ["a SUBSCRIBE with wrong reserved bits", packet(0x80, pieces([0, 1], field("a"), [0]))],
    ["a SUBSCRIBE without filters", packet(0x82, pieces([0, 1]))],
    ["a SUBSCRIBE of QoS 3", packet(0x82, pieces([0, 1], field(own("commands/+")), [3]))],
    ["a PUBREL with wrong reserved bits", packet(0x60, pieces([0, 1]))],
    ["a PINGREQ with reserved bits", packet(0xc1, Buffer.alloc(0))],
    ["a PUBLISH of QoS 3", publication(EVENT, 0x36)],
    ["a PUBLISH whose topic is longer than the packet", packet(0x32, pieces([0xff, 0xff], EVENT))],
    ["a packet whose length has five bytes", pieces([0x32, 0x80, 0x80, 0x80, 0x80, 0x01])],
  ])("%s closes the connection, and nothing is delivered", async (_, bytes) => {
    const north = await sentByNorth(bytes);
    await north.ended;
    expect(north.packets).toEqual([]);
    expect(await program.published()).toEqual([]);
  });
});

it.each([262_145, 5_000_000])(
  "the broker acknowledges a PUBLISH of %i bytes without delivering it, and reads the next packet",
  async (size) => {
    const north = await sentByNorth(packet(0x32, pieces(field(EVENT), [0, 7], "x".repeat(size))));
    expect((await north.next(TYPE.puback)).readUInt16BE(0)).toBe(7);
    expect(await program.published()).toEqual([]);
    north.send(packet(0x32, pieces(field(EVENT), [0, 8], "x")));
    expect((await north.next(TYPE.puback)).readUInt16BE(0)).toBe(8);
    expect(await program.published()).toEqual([EVENT]);
  },
);

const UNREADABLE: [string, string | Buffer][] = [
  ["NUL", "extra/a\u0000b"],
  ["a newline", "extra/a\nb"],
  ["U+202E", "extra/a\u202eb"],
  ["a zero-width space", "extra/a\u200bb"],
  ["an empty level", "extra//a"],
  ["an empty last level", "extra/"],
  ["17 levels", `extra/${"a/".repeat(12)}a`],
  ["513 characters", `extra/${"a".repeat(513 - own("extra/").length)}`],
  ...NO_UTF8.map(([title, bytes]) => [title, pieces("extra/", bytes)] as [string, Buffer]),
];

describe("a topic with", () => {
  it.each(UNREADABLE)("%s is acknowledged and not delivered", async (_, below) => {
    const north = await sentByNorth(publication(pieces(own(""), below)));
    expect((await north.next(TYPE.puback)).readUInt16BE(0)).toBe(7);
    expect(await program.published()).toEqual([]);
  });

  // [MQTT-3.3.2-2]
  it.each([
    ["+", "events/+"],
    ["#", "#"],
    ["+ within a level", "events/a+b"],
  ])("%s closes the publisher's connection", async (_, below) => {
    const north = await sentByNorth(publication(pieces(own(""), below)));
    await north.ended;
    expect(north.packets).toEqual([]);
    expect(await program.published()).toEqual([]);
  });

  it.each([...UNREADABLE, ["+", "events/+"], ["#", "#"]] as [string, string | Buffer][])(
    "%s in a will drops the will",
    async (_, below) => {
      const clientId = `will-${Math.random()}`;
      const will = { topic: pieces(own(""), below), payload: "gone" };
      const north = await rawClient(program.port);
      north.send(anyConnect({ clientId, will }));
      expect((await north.next(TYPE.connack)).readUInt8(1)).toBe(0);
      north.socket.destroy();
      await program.client("north", { clientId });
      expect(await program.published()).toEqual([]);
    },
  );

  it.each(UNREADABLE)("%s in a filter gets 128", async (_, below) => {
    const north = await sentByNorth(packet(0x82, pieces([0, 1], field(pieces(own("commands/"), below)), [1])));
    expect([...(await north.next(TYPE.suback)).subarray(2)]).toEqual([128]);
  });

  it.each(["__proto__", "constructor", "__proto__/constructor", "$SYS/__proto__", `${ROOT}/__proto__/north/about`])(
    "the name %s is not delivered, and gets 128 as a filter",
    async (topic) => {
      const subscriber = await sentByNorth(subscribePacket([[topic, 1]]));
      expect([...(await subscriber.next(TYPE.suback)).subarray(2)]).toEqual([128]);
      await (await sentByNorth(publication(topic))).next(TYPE.puback);
      expect(await program.published()).toEqual([]);
    },
  );

  it.each(["__proto__", "constructor"])("the id %s of a camera or a command is not delivered", async (name) => {
    for (const topic of [`${ROOT}/cameras/${name}/about`, own(`commands/${name}/x`)]) {
      await (await sentByNorth(publication(topic))).next(TYPE.puback);
    }
    expect(await program.published()).toEqual([]);
  });
});

describe.each(Object.entries(TRANSPORTS))("over %s", (_, open) => {
  it("cuts off a CONNECT that is sent one byte at a time, after MQTT_CONNECT_TIMEOUT_MS", async () => {
    const { broker, logged } = await startTestBroker({ env: { MQTT_CONNECT_TIMEOUT_MS: "600" } });
    const { peer, wrap } = await open(broker.ports);
    // At 40 bytes a second, the CONNECT takes longer than the timeout.
    const bytes = [...anyConnect({ password: "x".repeat(1000) })];
    const dripping = setInterval(() => peer.send(wrap(Buffer.from(bytes.splice(0, 1)))), 25);
    await peer.ended;
    clearInterval(dripping);
    expect(bytes.length).toBeGreaterThan(900);
    expect(peer.packets.filter(({ type }) => type === TYPE.connack)).toEqual([]);
    await logged("no CONNACK within 600 ms");
  });

  it("cuts off an endless packet after one and a half times the keep-alive", async () => {
    const { broker } = await startTestBroker();
    const { peer, wrap } = await open(broker.ports);
    peer.send(wrap(connectOf("north", { keepalive: 1 })));
    await expect.poll(() => broker.stats().clients).toBe(1);
    peer.send(wrap(packet(0x32, Buffer.alloc(0), 100_000)));
    const dripping = setInterval(() => peer.send(wrap(Buffer.from([0]))), 50);
    await peer.ended;
    clearInterval(dripping);
    expect(broker.stats().received).toBe(0);
  });
});

it.each([
  ["nothing", []],
  // A client that has sent the first byte of a CONNECT is still unauthenticated.
  ["a CONNECT except its last byte", [frame(connectOf("north").subarray(0, -1), { opcode: 2 })]],
])(
  "limits the bytes before a CONNACK to four times the largest CONNECT, in an endless WebSocket message after %s",
  async (_, before) => {
    const { broker, logged } = await startTestBroker();
    const { peer } = await TRANSPORTS.WebSocket(broker.ports);
    for (const message of before) peer.send(message);
    // The header of a frame of 200,000 bytes, and a tenth of its content.
    peer.send(Buffer.concat([pieces([0x82, 0xff, 0, 0, 0, 0, 0, 3, 0x0d, 0x40, 1, 2, 3, 4]), Buffer.alloc(20_000)]));
    await peer.ended;
    await logged("bytes before the CONNACK exceed the limit of 16384");
  },
);

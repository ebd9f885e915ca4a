import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type PacketCharges, PacketMeter } from "../../../broker/listeners/packet-meter.ts";
import { inboxOf, NORTH, publishUntil, SECRET, startTestBroker, topic } from "../broker-under-test.ts";
import {
  connectPacket,
  idPacket,
  PINGREQ,
  packet,
  publishPacket,
  rawClient,
  rawSession,
  subscribePacket,
  TYPE,
} from "../raw-client.ts";

const EVENT = topic("cameras/north/events/capture.completed");
const CAMERA = { clientId: "north-1", username: "north", password: SECRET };

describe("the broker, before the CONNACK,", () => {
  it("closes a silent connection after MQTT_CONNECT_TIMEOUT_MS", async () => {
    const { broker, logged } = await startTestBroker({ env: { MQTT_CONNECT_TIMEOUT_MS: "100" } });
    const silent = await rawClient(broker.ports.mqtt);
    await silent.ended;
    await logged("no CONNACK within 100 ms");
  });

  it("closes a connection whose authentication never finishes", async () => {
    const { broker, token } = await startTestBroker({
      env: { MQTT_CONNECT_TIMEOUT_MS: "100" },
      verifyToken: () => new Promise(() => undefined),
    });
    const waiting = await rawClient(broker.ports.mqtt);
    waiting.send(connectPacket({ clientId: "a", username: "a", password: token([]) }));
    await waiting.ended;
    expect(waiting.packets).toEqual([]);
    await expect.poll(() => broker.stats()).toMatchObject({ clients: 0, connections: 0 });
  });

  it("keeps an authenticated client's connection open after MQTT_CONNECT_TIMEOUT_MS", async () => {
    const { broker, client } = await startTestBroker({ env: { MQTT_CONNECT_TIMEOUT_MS: "2500" } });
    const camera = await client(NORTH);
    const silent = await rawClient(broker.ports.mqtt);
    await silent.ended;
    await camera.publishAsync(EVENT, "x", { qos: 1 });
  });

  it("closes the connection at the header of a packet that exceeds MAX_CONNECT_BYTES", async () => {
    const { broker, logged } = await startTestBroker();
    const greedy = await rawClient(broker.ports.mqtt);
    greedy.send(packet(0x10, Buffer.alloc(10), 4097));
    await greedy.ended;
    await logged("a packet of at least 4097 bytes exceeds the limit of 4096");
  });

  it("closes a connection whose first packet is not a CONNECT", async () => {
    const { broker, logged } = await startTestBroker();
    const browser = await rawClient(broker.ports.mqtt);
    browser.send(Buffer.from("GET / HTTP/1.1\r\n\r\n"));
    await browser.ended;
    await logged("the first packet is not an MQTT CONNECT");
  });

  it("refuses connections beyond MAX_MQTT_CLIENTS until a connection closes", async () => {
    const { broker, client, logged } = await startTestBroker({ env: { MAX_MQTT_CLIENTS: "2" } });
    const first = await client(NORTH);
    await rawClient(broker.ports.mqtt);
    await (await rawClient(broker.ports.mqtt)).ended;
    await (await rawClient(broker.ports.mqttWs)).ended;
    expect(await logged("connection refused: too many")).toMatchObject({ limit: "MAX_MQTT_CLIENTS" });
    expect(broker.stats()).toMatchObject({ connections: 2, refusedConnections: 2 });
    await first.endAsync();
    await expect.poll(() => broker.stats().connections).toBe(1);
    await client(NORTH);
  });

  it("refuses connections beyond MAX_MQTT_CONNECTIONS_PER_ADDRESS", async () => {
    const { broker, logged } = await startTestBroker({ env: { MAX_MQTT_CONNECTIONS_PER_ADDRESS: "2" } });
    await rawSession(broker.ports.mqtt, CAMERA);
    await rawClient(broker.ports.mqttWs);
    await (await rawClient(broker.ports.mqtt)).ended;
    expect(await logged("too many")).toMatchObject({ limit: "MAX_MQTT_CONNECTIONS_PER_ADDRESS", address: "127.0.0.1" });
  });

  it.each([
    [0, 0],
    [101, 5],
    [100, 0],
  ])("answers a keep-alive of %i s with CONNACK %i if the limit is 100 s", async (keepalive, code) => {
    const { broker } = await startTestBroker({ env: { MAX_MQTT_KEEPALIVE_SECONDS: "100" } });
    const camera = await rawClient(broker.ports.mqtt);
    camera.send(connectPacket({ ...CAMERA, keepalive }));
    expect((await camera.next(TYPE.connack)).readUInt8(1)).toBe(code);
  });

  it("accepts any keep-alive if no limit is set", async () => {
    const { broker } = await startTestBroker({ env: { MAX_MQTT_KEEPALIVE_SECONDS: "0" } });
    await rawSession(broker.ports.mqtt, { ...CAMERA, keepalive: 65_535 });
  });
});

describe("the broker, after the CONNACK,", () => {
  it("disconnects a silent client after one and a half times its keep-alive", async () => {
    const { broker } = await startTestBroker();
    const camera = await rawSession(broker.ports.mqtt, { ...CAMERA, keepalive: 1 });
    await camera.ended;
  });

  it.each([1001, 2_000_000])(
    "acknowledges a payload of %i bytes, beyond MAX_PAYLOAD_BYTES, and accepts the next publication",
    async (size) => {
      const { client, ingest, logged } = await startTestBroker({ env: { MAX_PAYLOAD_BYTES: "1000" } });
      const camera = await client(NORTH);
      await camera.publishAsync(EVENT, "x".repeat(1000), { qos: 1 });
      await camera.publishAsync(EVENT, "x".repeat(size), { qos: 1 });
      await camera.publishAsync(EVENT, "behind", { qos: 2 });
      await logged("exceeds MAX_PAYLOAD_BYTES, which is 1000");
      expect(ingest.accepted.map(({ payload }) => payload.length)).toEqual([1000, 6]);
    },
  );

  it("closes the connection at the header of an oversized packet that is not a PUBLISH", async () => {
    const { broker, logged } = await startTestBroker({ env: { MAX_PAYLOAD_BYTES: "1000" } });
    const camera = await rawSession(broker.ports.mqtt, CAMERA);
    camera.send(packet(0x82, Buffer.alloc(10), 200_000_000));
    await camera.ended;
    await logged("a packet of at least 200000000 bytes");
  });

  it("refuses topics and filters of more than 16 levels", async () => {
    const { broker, client, token, logged } = await startTestBroker();
    const deep = topic(`cameras/north/${"a/".repeat(12)}a`);
    const camera = await client(NORTH);
    await camera.publishAsync(deep, "x", { qos: 1 });
    await logged("has more than 16 levels");
    const reader = await rawSession(broker.ports.mqtt, { clientId: "r", username: "r", password: token(["admin"]) });
    reader.send(subscribePacket([[deep, 1]]));
    expect([...(await reader.next(TYPE.suback)).subarray(2)]).toEqual([128]);
  });

  it("closes the connection for a packet with more filters than MAX_MQTT_SUBSCRIPTIONS, and logs the limit", async () => {
    const { broker, token, logged } = await startTestBroker({ env: { MAX_MQTT_SUBSCRIPTIONS: "2" } });
    const login = { clientId: "r", username: "r", password: token(["dashboard:read"]) };
    for (const first of [0x82, 0xa2]) {
      const reader = await rawSession(broker.ports.mqtt, login);
      const filters = Array.from({ length: 3 }, () => [0, 1, 97, ...(first === 0x82 ? [0] : [])]);
      reader.send(packet(first, Buffer.from([0, 1, ...filters.flat()])));
      await reader.ended;
    }
    await logged("MAX_MQTT_SUBSCRIPTIONS");
  });

  it("grants a client at most MAX_MQTT_SUBSCRIPTIONS filters, including those of its stored session", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_SUBSCRIPTIONS: "2" } });
    const session = { clientId: "r", username: "r", password: test.token(["dashboard:read"]), clean: false };
    const reader = await rawSession(test.broker.ports.mqtt, session);
    const [one, two, three] = ["one", "two", "three"].map((name) => topic(`cameras/${name}/#`));
    reader.send(
      subscribePacket([
        [one ?? "", 1],
        [two ?? "", 1],
      ]),
    );
    expect([...(await reader.next(TYPE.suback)).subarray(2)]).toEqual([1, 1]);
    reader.send(subscribePacket([[three ?? "", 1]]));
    expect([...(await reader.next(TYPE.suback)).subarray(2)]).toEqual([128]);
    reader.send(packet(0xa2, Buffer.concat([Buffer.from([0, 2, 0, one?.length ?? 0]), Buffer.from(one ?? "")])));
    await reader.next(11);
    reader.send(subscribePacket([[three ?? "", 1]]));
    expect([...(await reader.next(TYPE.suback)).subarray(2)]).toEqual([1]);
    reader.socket.destroy();
    await expect.poll(() => test.broker.stats().clients).toBe(0);
    await rawSession(test.broker.ports.mqtt, session);
    expect(test.broker.clients().map(({ filters }) => [...filters.keys()])).toEqual([[two, three]]);
  });

  it.each([
    ["MAX_MQTT_WILDCARDS", ["a/link", "+/link", "b/link", "a/#"], [1, 1, 1, 128]],
    ["MAX_MQTT_SUBSCRIPTIONS_PER_USER", ["a/link", "b/link"], [128, 128]],
  ])("grants a client no filter beyond %s, and gives the room back", async (name, names, codes) => {
    const test = await startTestBroker({ env: { [name]: "1" } });
    const user = { username: "r", password: test.token(["dashboard:read"]), clean: false };
    const reader = (clientId: string) => rawSession(test.broker.ports.mqtt, { clientId, ...user });
    const first = await reader("first");
    const [clean, filters] = [topic("cameras/one/+"), names.map((last): [string, 1] => [topic(`cameras/${last}`), 1])];
    const answer = async (from: typeof first, ...wanted: [string, 1][]) => {
      from.send(subscribePacket(wanted));
      return [...(await from.next(TYPE.suback)).subarray(2)];
    };
    expect(await answer(first, [clean, 1])).toEqual([1]);
    // Another client of the user has wildcards of its own.
    const second = await reader("second");
    expect(await answer(second, ...filters)).toEqual(codes);
    first.socket.destroy();
    await expect.poll(() => test.broker.stats().clients).toBe(1);
    expect(await answer(second, [topic("cameras/c/link"), 1])).toEqual([1]);
  });
});

describe("a fast client", () => {
  it("gets every QoS 0 message of a large burst", async () => {
    const test = await startTestBroker({ env: { MAX_QUEUED_BYTES: "20000" } });
    const reader = await test.client({ username: "r", password: test.token(["dashboard:read"]) });
    const inbox = inboxOf(reader);
    await reader.subscribeAsync(topic("cameras/#"), { qos: 0 });
    const cameras = await Promise.all(Array.from({ length: 5 }, () => test.client(NORTH)));
    for (let index = 0; index < 200; index++) {
      for (const camera of cameras) camera.publish(EVENT, "x".repeat(1000), { qos: 0 });
    }
    await inbox.has(1000);
    expect(test.broker.stats().shed).toBe(0);
  });
});

describe("a slow client", () => {
  /** A client that subscribes and then reads nothing. */
  async function stuck(test: Awaited<ReturnType<typeof startTestBroker>>, qos: 0 | 1 | 2, clean: boolean) {
    const password = test.token(["dashboard:read"]);
    const reader = await rawSession(test.broker.ports.mqtt, { clientId: "stuck", username: "s", password, clean });
    reader.send(subscribePacket([[topic("cameras/#"), qos]]));
    await reader.next(TYPE.suback);
    reader.socket.pause();
    return reader;
  }

  it("delays no other client and loses QoS 0 messages", async () => {
    const test = await startTestBroker();
    await stuck(test, 0, true);
    const reader = await test.client({ username: "r", password: test.token(["dashboard:read"]) });
    const inbox = inboxOf(reader);
    await reader.subscribeAsync(topic("cameras/#"), { qos: 1 });
    const camera = await test.client(NORTH);
    const started = performance.now();
    const names = await publishUntil(camera, EVENT, () => test.broker.stats().shed > 0);
    await inbox.has(names.length);
    // The slow client is still connected, so the other clients did not wait until the broker disconnected the slow
    // client.
    expect(performance.now() - started).toBeLessThan(15_000);
    expect(test.broker.clients().map(({ clientId }) => clientId)).toContain("stuck");
  });

  it("is disconnected when it reads nothing for MQTT_DRAIN_TIMEOUT_MS", async () => {
    const test = await startTestBroker({ env: { MQTT_DRAIN_TIMEOUT_MS: "300" } });
    await stuck(test, 0, true);
    const camera = await test.client(NORTH);
    await publishUntil(camera, EVENT, () => test.log.some(({ msg, why }) => `${msg} ${why}`.includes("drain timeout")));
    await expect.poll(() => test.broker.stats().clients).toBe(1);
  });

  it("with a persistent session stays behind, and loses neither its connection nor a message", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_UNSENT_BYTES: "300000", MAX_OFFLINE_BYTES: "0" } });
    await stuck(test, 1, false);
    const camera = await test.client(NORTH);
    const names = await publishUntil(camera, EVENT, () => test.broker.stats().offlineMessages > 100);
    expect(test.broker.stats().slowClients).toBe(0);
    const password = test.token(["dashboard:read"]);
    const { inbox } = await test.join({ clientId: "stuck", username: "s", password, clean: false });
    expect((await inbox.has(names.length)).map(({ payload }) => payload.trim())).toEqual(names);
    await expect.poll(() => test.broker.stats().offlineMessages).toBe(0);
  });

  it("gets all retained messages, however many", async () => {
    const test = await startTestBroker({ env: { MAX_QUEUED_BYTES: "20000", MAX_RETAINED_BYTES_PER_DEVICE: "0" } });
    const camera = await test.client(NORTH);
    for (let index = 0; index < 100; index++) {
      const options = { qos: 1, retain: true } as const;
      await camera.publishAsync(topic(`cameras/north/state/s${index}`), "x".repeat(50_000), options);
    }
    const reader = await test.client({ username: "r", password: test.token(["dashboard:read"]) });
    const inbox = inboxOf(reader);
    await reader.subscribeAsync(topic("cameras/#"), { qos: 1 });
    await inbox.has(100);
  });
});

describe("PacketMeter", () => {
  const limits = { maxConnectBytes: 100, maxPacketBytes: 300, maxMqtt5PacketBytes: 300, maxFilters: 3 };
  const FREE: PacketCharges = {
    isAuthenticated: true,
    mayRead: () => true,
    packet: () => {},
    filter: () => {},
    disconnect: () => {},
  };
  const CONNECT = connectPacket({ clientId: "c", username: "u", password: "p" });

  /** Gives a meter the stream in pieces. @returns the bytes that the meter passes on, or the problem that it finds */
  function through(stream: Buffer, cuts: readonly number[], charges = FREE): Buffer | string {
    const meter = new PacketMeter(limits);
    const parts: Buffer[] = [];
    let turn = 0;
    for (let at = 0; at < stream.length; turn++) {
      const end = Math.min(stream.length, at + (cuts[turn % cuts.length] ?? 1));
      const { bytes, rest, problem } = meter.read(stream.subarray(at, end), charges);
      if (problem !== undefined) return problem.why;
      parts.push(bytes);
      at = end - rest.length;
    }
    return Buffer.concat(parts);
  }

  it("passes on all packets, and the beginning of oversized packets, however the stream is cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(400), { maxLength: 10 }),
        fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }),
        (sizes, cuts) => {
          const publish = (size: number) =>
            publishPacket({ topic: "t", payload: "x".repeat(size), qos: 1, id: size + 1 });
          const stream = Buffer.concat([CONNECT, ...sizes.map(publish)]);
          const expected = Buffer.concat([CONNECT, ...sizes.map((size) => publish(Math.min(size, 295)))]);
          // The meter cuts the payload of an oversized packet, but keeps the packet's message id.
          let at = CONNECT.length;
          for (const size of sizes) {
            const packetBytes = publish(Math.min(size, 295)).length;
            expected.writeUInt16BE(size + 1, at + packetBytes - Math.min(size, 295) - 2);
            at += packetBytes;
          }
          expect(through(stream, cuts)).toEqual(expected);
        },
      ),
    );
  });

  it("counts packets, filters and acknowledgements, however the stream is cut", () => {
    const filters: [string, 0][] = [
      ["a/b", 0],
      ["c", 0],
      ["d/#", 0],
    ];
    const stream = Buffer.concat([CONNECT, subscribePacket(filters), PINGREQ, idPacket(TYPE.puback, 7)]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), (cuts) => {
        const counted = { packets: 0, answers: 0, filters: 0 };
        const charges: PacketCharges = {
          ...FREE,
          packet: (isAcknowledgement) => counted[isAcknowledgement ? "answers" : "packets"]++,
          filter: () => counted.filters++,
        };
        expect(through(stream, cuts, charges)).toEqual(stream);
        // The charge for the packet includes its first filter.
        expect(counted).toEqual({ packets: 3, answers: 1, filters: 2 });
      }),
    );
  });

  it("holds back packets while the client has to wait, and then passes them on", () => {
    const meter = new PacketMeter(limits);
    const pings = Buffer.concat([CONNECT, PINGREQ, PINGREQ, PINGREQ]);
    let left = 2;
    const charges: PacketCharges = { ...FREE, mayRead: () => left > 0, packet: () => left-- };
    const first = meter.read(pings, charges);
    expect(first).toMatchObject({ bytes: Buffer.concat([CONNECT, PINGREQ]), rest: Buffer.concat([PINGREQ, PINGREQ]) });
    left = 9;
    expect(meter.read(first.rest, charges)).toMatchObject({ bytes: first.rest, rest: Buffer.alloc(0) });
  });

  it("stops after a SUBSCRIBE, so that its retained messages are charged before the next packet", () => {
    const subscribe = subscribePacket([["a", 0]]);
    const reading = new PacketMeter(limits).read(Buffer.concat([CONNECT, subscribe, PINGREQ]), FREE);
    expect(reading).toMatchObject({ bytes: Buffer.concat([CONNECT, subscribe]), rest: PINGREQ });
  });

  it("refuses a packet with more filters than a client may have", () => {
    const filters = ["a", "b", "c", "d"].map((filter): [string, 0] => [filter, 0]);
    expect(through(Buffer.concat([CONNECT, subscribePacket(filters)]), [7])).toContain("MAX_MQTT_SUBSCRIPTIONS");
  });

  it("refuses an oversized packet that is not a PUBLISH", () => {
    expect(through(Buffer.concat([CONNECT, packet(0x82, Buffer.alloc(301))]), [50])).toContain("301 bytes");
  });

  it("refuses a length field of five bytes", () => {
    expect(through(Buffer.from([0x10, 0xff, 0xff, 0xff, 0xff, 0x01]), [6])).toContain("malformed");
  });
});

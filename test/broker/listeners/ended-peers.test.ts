import { generate } from "mqtt-packet";
import { describe, expect, it } from "vitest";
import { frame, upgradeRequest } from "../../security/raw-web-socket.ts";
import { type BrokerUnderTest, SECRET, startTestBroker, topic } from "../broker-under-test.ts";
import { packet, rawClient } from "../raw-client.ts";

const VERSIONS = [
  ["3.1.1", 4],
  ["5", 5],
] as const;
type Version = (typeof VERSIONS)[number][1];

/** The first bytes of a PUBLISH of 7,000 bytes. */
const beginning = (bytes: number) => packet(0x30, Buffer.alloc(7_000, "a")).subarray(0, bytes);
const MESSAGES_PER_SECOND = "8";
/**
 * At this rate, the broker reads what follows these packets after 250 ms, when the end of the connection has arrived. The
 * packets have no answers, which would detect that a WebSocket has ended.
 */
const publications = (protocolVersion: Version) => {
  const fields = { topic: topic("cameras/north/events/a"), payload: "{}", qos: 0, dup: false, retain: false } as const;
  const publish = generate({ cmd: "publish", ...fields }, { protocolVersion });
  return Buffer.concat(Array.from({ length: 17 }, () => publish));
};

/** What the peer sends with its end, after the CONNACK. */
const INPUTS: readonly [string, (version: Version) => Buffer][] = [
  ["a few bytes of a packet", () => beginning(10)],
  ["one byte that the rate limit delays", (version) => Buffer.concat([publications(version), beginning(1)])],
  ["a few bytes that the rate limit delays", (version) => Buffer.concat([publications(version), beginning(10)])],
  [
    "most of a packet that the rate limit delays",
    (version) => Buffer.concat([publications(version), beginning(6_000)]),
  ],
];

/** A CONNECT without keep-alive, so that only the peer's end closes the connection. */
function connectBytes(protocolVersion: Version): Buffer {
  return generate({
    cmd: "connect",
    ...{ protocolId: "MQTT", protocolVersion, clientId: "camera-north", clean: true, keepalive: 0 },
    ...{ username: "north", password: Buffer.from(SECRET) },
  });
}

/** A peer over TCP. */
async function tcpPeer(test: BrokerUnderTest) {
  const { socket, ended } = await rawClient(test.broker.ports.mqtt);
  return {
    send: (bytes: Buffer) => void socket.write(bytes),
    /** Sends the bytes and the end at once. Resolves when the broker has closed the connection. */
    end: (bytes: Buffer) => {
      socket.end(bytes);
      return ended;
    },
  };
}

/** A peer over WebSocket, which ends with a close frame. */
async function webSocketPeer(test: BrokerUnderTest) {
  const { socket, ended } = await rawClient(test.broker.ports.mqttWs);
  socket.write(upgradeRequest({ path: "/", protocol: "mqtt" }));
  return {
    send: (bytes: Buffer) => void socket.write(frame(bytes, { opcode: 2 })),
    end: (bytes: Buffer) => {
      socket.end(Buffer.concat([frame(bytes, { opcode: 2 }), frame("", { opcode: 8 })]));
      return ended;
    },
  };
}

describe.each([
  ["TCP", tcpPeer],
  ["WebSocket", webSocketPeer],
])("over %s, the broker disconnects a peer that ends within a packet", (_, openPeer) => {
  describe.each(VERSIONS)("of MQTT %s", (_version, version) => {
    it.each(INPUTS)("after %s", async (_input, input) => {
      const test = await startTestBroker({ env: { MAX_MQTT_MESSAGES_PER_SECOND: MESSAGES_PER_SECOND } });
      const peer = await openPeer(test);
      peer.send(connectBytes(version));
      await expect.poll(() => test.broker.stats().clients).toBe(1);
      await peer.end(input(version));
      await expect.poll(() => test.broker.stats()).toMatchObject({ clients: 0, connections: 0 });
    });

    it("after most of a CONNECT", async () => {
      const test = await startTestBroker();
      const peer = await openPeer(test);
      await peer.end(connectBytes(version).subarray(0, -1));
      await expect.poll(() => test.broker.stats().connections).toBe(0);
    });
  });
});

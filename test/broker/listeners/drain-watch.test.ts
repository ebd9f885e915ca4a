import { generate, type Packet } from "mqtt-packet";
import { describe, expect, it } from "vitest";
import { clientFrame, SlowReader, upgradeRequest } from "../../support/slow-reader.ts";
import { type BrokerUnderTest, NORTH, startTestBroker, topic } from "../broker-under-test.ts";

const EVENT = topic("cameras/north/events/capture.completed");
const BIG = "x".repeat(4_000);
const DRAIN_MS = 3_000;
/** 256 KiB take eight seconds, more than twice as long as the timeout. */
const BYTES_PER_SECOND = 32_768;
const KINDS = ([4, 5] as const).flatMap((version) => (["tcp", "ws"] as const).map((link) => ({ version, link })));

/** Connects clients of both versions over TCP and WebSocket, which subscribe to the camera at QoS 0. */
async function readers(test: BrokerUnderTest, bytesPerSecond: number, keepalive = 60) {
  const { mqtt = 0, mqttWs = 0 } = test.broker.ports;
  const clients = KINDS.map(({ version, link }) => {
    const bytesOf = (packet: Packet) => generate(packet, { protocolVersion: version });
    const framed = (packet: Buffer) => (link === "ws" ? clientFrame(packet) : packet);
    const login = { username: "alice", password: Buffer.from(test.token(["dashboard:read"])) };
    const packets: Packet[] = [
      {
        ...{ cmd: "connect", protocolId: "MQTT", protocolVersion: version, clean: true, keepalive, ...login },
        clientId: `${version}-${link}`,
      },
      { cmd: "subscribe", messageId: 1, subscriptions: [{ topic: topic("cameras/#"), qos: 0 }] },
    ];
    const upgrade = link === "ws" ? [upgradeRequest("/mqtt", { "sec-websocket-protocol": "mqtt" })] : [];
    return new SlowReader(link === "ws" ? mqttWs : mqtt, {
      first: Buffer.concat([...upgrade, ...packets.map((packet) => framed(bytesOf(packet)))]),
      again: framed(bytesOf({ cmd: "pingreq" })),
      bytesPerSecond,
    });
  });
  const isSubscribed = () => test.broker.clients().filter(({ filters }) => filters.size > 0).length === KINDS.length;
  await expect.poll(isSubscribed).toBe(true);
  return clients;
}

/** Publishes until each reader has so much unsent that a message of QoS 0 is dropped for all. @returns how many messages */
async function fill(test: BrokerUnderTest): Promise<number> {
  const camera = await test.client(NORTH);
  for (let count = 1; ; count++) {
    const { shed } = test.broker.stats();
    await camera.publishAsync(EVENT, BIG, { qos: 1 });
    if (test.broker.stats().shed === shed + KINDS.length) return count;
  }
}

describe("a client of MQTT 3.1.1 or 5, over TCP or WebSocket,", () => {
  it("keeps its connection while it reads slowly, although its queue takes longer than MQTT_DRAIN_TIMEOUT_MS", async () => {
    const test = await startTestBroker({ env: { MQTT_DRAIN_TIMEOUT_MS: String(DRAIN_MS) } });
    const clients = await readers(test, BYTES_PER_SECOND);
    await fill(test);
    const queued = clients.map(({ received }) => received + 262_144);
    for (const [index, client] of clients.entries())
      await expect.poll(() => client.isClosed || client.received > (queued[index] ?? 0)).toBe(true);
    expect(clients.map(({ isClosed }) => isClosed)).toEqual(KINDS.map(() => false));
  });

  it("is disconnected when it reads nothing for MQTT_DRAIN_TIMEOUT_MS, although it sends PINGREQ", async () => {
    const test = await startTestBroker({ env: { MQTT_DRAIN_TIMEOUT_MS: "500" } });
    await readers(test, 0);
    const camera = await test.client(NORTH);
    while (test.broker.stats().clients > 1) await camera.publishAsync(EVENT, BIG, { qos: 1 });
    const ended = test.log.filter(({ why }) => String(why).includes("drain timeout")).map(({ clientId }) => clientId);
    expect([...new Set(ended)].sort()).toEqual(KINDS.map(({ version, link }) => `${version}-${link}`).sort());
  });
});

import { once } from "node:events";
import { connect as connectSocket } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { WebSocket } from "ws";
import {
  type BrokerUnderTest,
  closed,
  inboxOf,
  NORTH,
  publishUntil,
  SECRET,
  startTestBroker,
  topic,
} from "../broker-under-test.ts";
import { connectPacket, rawClient } from "../raw-client.ts";

const CONNECT = connectPacket({ clientId: "north-1", username: "north", password: SECRET });

/** The HTTP status of the answer to the upgrade: 101 if the upgrade is accepted. */
async function upgrade(test: BrokerUnderTest, options: { origin?: string; protocols?: string[] }): Promise<number> {
  const { origin, protocols = ["mqtt"] } = options;
  const socket = new WebSocket(test.webSocketUrl, protocols, origin === undefined ? {} : { origin });
  onTestFinished(() => socket.terminate());
  return new Promise((resolve, reject) => {
    socket.on("open", () => resolve(101));
    socket.on("unexpected-response", (_request, response) => resolve(response.statusCode ?? 0));
    socket.on("error", reject);
  });
}

describe("MQTT over WebSocket", () => {
  it.each([
    ["no Origin, as programs connect", "https://a.example", undefined, 101],
    ["an Origin of ALLOWED_ORIGINS", "https://b.example, https://a.example", "https://a.example", 101],
    ["another Origin", "https://a.example", "https://evil.example", 403],
    ["an Origin that only begins like an allowed Origin", "https://a.example", "https://a.example.evil.example", 403],
    ["any Origin when none is allowed", "", "https://a.example", 403],
  ])("%s", async (_, allowed, origin, status) => {
    const test = await startTestBroker({ env: { ALLOWED_ORIGINS: allowed } });
    expect(await upgrade(test, origin === undefined ? {} : { origin })).toBe(status);
  });

  it.each([
    [["mqtt"], 101],
    [["mqttv3.1"], 101],
    [["chat", "mqtt"], 101],
    [["chat"], 400],
    [[], 400],
  ])("answers the subprotocols %j with status %i", async (protocols, status) => {
    expect(await upgrade(await startTestBroker(), { protocols })).toBe(status);
  });

  it("answers a plain HTTP request with a sentence", async () => {
    const test = await startTestBroker();
    const response = await fetch(test.webSocketUrl.replace("ws:", "http:"));
    expect(response.status).toBe(426);
    expect(await response.text()).toContain("MQTT over WebSocket");
  });

  it("closes a connection that sends text", async () => {
    const test = await startTestBroker();
    const socket = new WebSocket(test.webSocketUrl, "mqtt");
    await once(socket, "open");
    socket.send("hello");
    const [code] = await once(socket, "close");
    expect(code).toBe(1003);
  });

  it("accepts packets in frames of any size", async () => {
    const test = await startTestBroker();
    const socket = new WebSocket(test.webSocketUrl, "mqtt");
    await once(socket, "open");
    for (const byte of CONNECT) socket.send(Buffer.from([byte]));
    const [answer] = await once(socket, "message");
    expect(answer).toEqual(Buffer.from([0x20, 2, 0, 0]));
    socket.terminate();
  });

  it("sends a packet as one frame", async () => {
    const test = await startTestBroker();
    const socket = new WebSocket(test.webSocketUrl, "mqtt");
    await once(socket, "open");
    const frames: Buffer[] = [];
    socket.on("message", (data) => {
      if (Buffer.isBuffer(data)) frames.push(data);
    });
    socket.send(CONNECT);
    await expect.poll(() => frames.length).toBe(1);
    const filter = topic("cameras/north/commands/+");
    const subscribe = Buffer.concat([
      Buffer.from([0x82, filter.length + 5, 0, 1, 0, filter.length]),
      Buffer.from(filter),
      Buffer.from([1]),
    ]);
    socket.send(subscribe);
    await expect.poll(() => frames.length).toBe(2);
    const command = {
      topic: topic("cameras/north/commands/reboot"),
      payload: Buffer.from("{}"),
      qos: 1,
      retain: false,
    } as const;
    await test.broker.publish(command);
    await expect.poll(() => frames.length).toBe(3);
    expect(frames[2]?.readUInt8(0)).toBe(0x32);
    expect(frames[2]?.length).toBe(2 + 2 + command.topic.length + 2 + 2);
    socket.terminate();
  });

  it.each([
    ["that says nothing", ""],
    ["that never ends its request", "GET / HTTP/1.1\r\nHost: x\r\n"],
  ])("closes a connection %s after MQTT_CONNECT_TIMEOUT_MS", async (_, beginning) => {
    const test = await startTestBroker({ env: { MQTT_CONNECT_TIMEOUT_MS: "200" } });
    const slow = await rawClient(test.broker.ports.mqttWs);
    slow.send(Buffer.from(beginning));
    await slow.ended;
  });

  it("closes a connection that upgrades and then sends nothing", async () => {
    const test = await startTestBroker({ env: { MQTT_CONNECT_TIMEOUT_MS: "2000" } });
    const socket = new WebSocket(test.webSocketUrl, "mqtt");
    await once(socket, "close");
    await test.logged("no CONNACK within 2000 ms");
  });

  it("enforces MAX_CONNECT_BYTES and MAX_PAYLOAD_BYTES", async () => {
    const test = await startTestBroker({ env: { MAX_PAYLOAD_BYTES: "1000" } });
    const greedy = new WebSocket(test.webSocketUrl, "mqtt");
    await once(greedy, "open");
    greedy.send(Buffer.from([0x10, 0xff, 0xff, 0x7f, 0]));
    await once(greedy, "close");
    await test.logged("exceeds the limit of 4096");
    const camera = await test.client({ ...NORTH, url: test.webSocketUrl });
    camera.publish(topic("cameras/north/about"), "x".repeat(10_000), { qos: 1 });
    await closed(camera);
    expect(test.ingest.accepted).toEqual([]);
  });

  it("does not delay other clients for a subscriber that reads nothing", async () => {
    const test = await startTestBroker();
    const socket = new WebSocket(test.webSocketUrl, "mqtt");
    await once(socket, "open");
    socket.send(connectPacket({ clientId: "stuck", username: "s", password: test.token(["dashboard:read"]) }));
    await once(socket, "message");
    const filter = topic("cameras/#");
    socket.send(
      Buffer.concat([
        Buffer.from([0x82, filter.length + 5, 0, 1, 0, filter.length]),
        Buffer.from(filter),
        Buffer.from([0]),
      ]),
    );
    await once(socket, "message");
    socket.pause();
    const reader = await test.client({ username: "r", password: test.token(["dashboard:read"]) });
    const inbox = inboxOf(reader);
    await reader.subscribeAsync(filter, { qos: 1 });
    const camera = await test.client(NORTH);
    const event = topic("cameras/north/events/capture.completed");
    const names = await publishUntil(camera, event, () => test.broker.stats().shed > 0);
    await inbox.has(names.length);
    socket.terminate();
  });
});

it("the broker survives a socket that is reset during its upgrade", async () => {
  const test = await startTestBroker();
  const socket = connectSocket(test.broker.ports.mqttWs ?? 0, "127.0.0.1");
  await once(socket, "connect");
  socket.write("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n");
  socket.resetAndDestroy();
  const camera = await test.client({ ...NORTH, url: test.webSocketUrl });
  expect(camera.connected).toBe(true);
});

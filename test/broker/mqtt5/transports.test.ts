import { once } from "node:events";
import mqtt from "mqtt";
import { generate } from "mqtt-packet";
import { describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { connected, inboxOf, NORTH, startTestBroker, topic } from "../broker-under-test.ts";
import { Client5, connectPacket5, NORTH5, tryConnect5 } from "./client5.ts";

const EVENT = topic("cameras/north/events/capture.completed");

describe("MQTT 5", () => {
  it("works over WebSocket, with MQTT.js [MQTT-6.0.0-3]", async () => {
    const test = await startTestBroker();
    const login = { username: "v", password: test.token(["admin"]), reconnectPeriod: 0, protocolVersion: 5 as const };
    const client = await connected(mqtt.connect(test.webSocketUrl, login));
    const inbox = inboxOf(client);
    await client.subscribeAsync("#", { qos: 2 });
    for (const qos of [0, 1, 2] as const) await client.publishAsync("a", String(qos), { qos });
    await client.publishAsync("a", "x".repeat(100_000), { qos: 1 });
    expect((await inbox.has(4)).map(({ payload }) => payload.slice(0, 1))).toEqual(["0", "1", "2", "x"]);
  });

  it("over WebSocket, packets need not begin with frames, and text closes the connection [MQTT-6.0.0-1] [MQTT-6.0.0-2] [MQTT-6.0.0-4]", async () => {
    const test = await startTestBroker();
    const socket = new WebSocket(test.webSocketUrl, ["other", "mqtt"]);
    await once(socket, "open");
    expect(socket.protocol).toBe("mqtt");
    const ping = generate({ cmd: "pingreq" });
    const bytes = Buffer.concat([generate(connectPacket5(NORTH5), { protocolVersion: 5 }), ping, ping]);
    const received: Buffer[] = [];
    socket.on("message", (data) => {
      if (Buffer.isBuffer(data)) received.push(data);
    });
    for (const part of [bytes.subarray(0, 5), bytes.subarray(5, -1), bytes.subarray(-1)]) socket.send(part);
    await expect.poll(() => Buffer.concat(received).subarray(-4)).toEqual(Buffer.from([0xd0, 0, 0xd0, 0]));
    socket.send("text");
    await once(socket, "close");
  });

  it("reads a CONNECT and a publication that arrive byte by byte [MQTT-4.2.0-1]", async () => {
    const test = await startTestBroker();
    const client = new Client5(test.broker.ports.mqtt);
    const publish = {
      cmd: "publish",
      topic: EVENT,
      payload: "{}",
      qos: 1,
      messageId: 1,
      retain: false,
      dup: false,
    } as const;
    const bytes = [connectPacket5(NORTH5), publish].map((packet) => generate(packet, { protocolVersion: 5 }));
    for (const byte of Buffer.concat(bytes)) {
      client.sendBytes([byte]);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await client.next("puback")).reasonCode).toBe(0);
  });

  it("gets every publication of a burst of MQTT.js in order, at each QoS [MQTT-4.6.0-1] [MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT-4.6.0-5]", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_MESSAGES_PER_SECOND: "0" } });
    const reader = await test.client({ protocolVersion: 5, username: "v", password: test.token(["dashboard:read"]) });
    const inbox = inboxOf(reader);
    await reader.subscribeAsync(EVENT, { qos: 2 });
    const north = await test.client({ ...NORTH, protocolVersion: 5, clientId: "camera-north" });
    const numbers = Array.from({ length: 300 }, (_, index) => String(index));
    for (const qos of [1, 2] as const) {
      await Promise.all(numbers.map((number) => north.publishAsync(EVENT, number, { qos })));
      expect((await inbox.has(300)).map(({ payload }) => payload)).toEqual(numbers);
      inbox.messages.splice(0);
    }
  });

  it("counts in the statistics as MQTT 3.1.1 does, and its log lines name the client", async () => {
    const test = await startTestBroker();
    const { client } = await tryConnect5(test, NORTH5);
    await client.publish(EVENT, "{}");
    expect(test.broker.stats()).toMatchObject({ clients: 1, connections: 1, received: 1 });
    expect(test.broker.clients()).toMatchObject([
      { clientId: "camera-north", identity: "device:north", transport: "tcp" },
    ]);
    client.send({ cmd: "disconnect", reasonCode: 0 });
    await client.ended;
    expect(await test.logged("client disconnected")).toMatchObject({ camera: "north", why: "it sent DISCONNECT" });
  });
});

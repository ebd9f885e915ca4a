import { once } from "node:events";
import { createServer } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { WebSocket } from "ws";
import { closed, NORTH, startTestBroker, temporaryFolder, topic } from "./broker-under-test.ts";
import { publishPacket, rawClient, rawSession, subscribePacket, TYPE } from "./raw-client.ts";

describe("the broker's stop", () => {
  it("closes every connection quickly, including connections of unresponsive peers", async () => {
    const test = await startTestBroker();
    const { ports } = test.broker;
    const password = test.token(["dashboard:read"]);
    const camera = await test.client(NORTH);
    const silent = await rawClient(ports.mqtt);
    const notUpgraded = await rawClient(ports.mqttWs);
    const upgraded = new WebSocket(test.webSocketUrl, "mqtt");
    await once(upgraded, "open");
    const stuck = await rawSession(ports.mqtt, { clientId: "stuck", username: "s", password, clean: false });
    stuck.send(subscribePacket([[topic("cameras/#"), 1]]));
    await stuck.next(TYPE.suback);
    stuck.socket.pause();
    for (let index = 0; index < 100; index++) {
      await camera.publishAsync(topic("cameras/north/about"), "x".repeat(50_000), { qos: 1 });
    }
    const started = performance.now();
    const gone = [closed(camera), silent.ended, notUpgraded.ended, once(upgraded, "close")];
    await test.broker.stop();
    expect(performance.now() - started).toBeLessThan(8_000);
    await Promise.all(gone);
    await expect(test.client(NORTH)).rejects.toThrow();
  });

  it("finishes quickly when ingest never answers", async () => {
    const test = await startTestBroker();
    test.ingest.answer = () => new Promise(() => undefined);
    const camera = await rawSession(test.broker.ports.mqtt, {
      clientId: "c",
      username: "north",
      password: NORTH.password,
    });
    camera.send(publishPacket({ topic: topic("cameras/north/about"), payload: "x", qos: 1, id: 1 }));
    await expect.poll(() => test.ingest.accepted.length).toBe(1);
    const started = performance.now();
    await test.broker.stop();
    expect(performance.now() - started).toBeLessThan(8_000);
    await camera.ended;
  });

  it("waits for publications that are being written, so that sessions get these publications", async () => {
    const dataPath = temporaryFolder();
    const test = await startTestBroker({ dataPath });
    const options = { username: "a", password: test.token(["dashboard:read"]), clientId: "archive", clean: false };
    const archive = await test.client(options);
    await archive.subscribeAsync(topic("cameras/#"), { qos: 1 });
    await archive.endAsync();
    test.ingest.answer = () => new Promise((resolve) => setTimeout(() => resolve({ forward: true }), 50));
    const camera = await test.client(NORTH);
    camera.publish(topic("cameras/north/about"), "x", { qos: 1 });
    await expect.poll(() => test.ingest.accepted.length).toBe(1);
    await test.broker.stop();
    const next = await startTestBroker({ dataPath });
    expect(next.broker.stats().offlineMessages).toBe(1);
  });

  it("may be called repeatedly and concurrently", async () => {
    const { broker } = await startTestBroker();
    const first = broker.stop();
    expect(broker.stop()).toBe(first);
    await first;
    await broker.stop();
  });

  it("releases its ports and its data path", async () => {
    const dataPath = temporaryFolder();
    const first = await startTestBroker({ dataPath });
    const env = { MQTT_PORT: String(first.broker.ports.mqtt), MQTT_WS_PORT: String(first.broker.ports.mqttWs) };
    await first.broker.stop();
    const second = await startTestBroker({ dataPath, env });
    expect(second.broker.ports).toEqual(first.broker.ports);
  });
});

describe("the broker's start", () => {
  it("names a port in use and the remedy, and leaves nothing open", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    onTestFinished(() => {
      other.close();
    });
    const address = other.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const dataPath = temporaryFolder();
    const failure = startTestBroker({ dataPath, env: { MQTT_WS_PORT: String(port) } });
    await expect(failure).rejects.toMatchObject({
      name: "ListenError",
      variable: "MQTT_WS_PORT",
      port,
      code: "EADDRINUSE",
    });
    await expect(failure).rejects.toThrow(
      `MQTT_WS_PORT: port ${port} on 127.0.0.1 is in use by another program: stop that program, or set MQTT_WS_PORT to a free port`,
    );
  });

  it("names an address that does not belong to this machine", async () => {
    await expect(startTestBroker({ env: { HOST: "192.0.2.1" } })).rejects.toThrow(
      /HOST 192\.0\.2\.1 is not an address/,
    );
  });
});

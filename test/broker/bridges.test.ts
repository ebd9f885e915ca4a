import { connect } from "mqtt";
import { expect, it, onTestFinished } from "vitest";
import { BadLink } from "../support/bad-link.ts";
import { startMosquitto } from "../support/mosquitto.ts";
import { connected, inboxOf, NORTH, startTestBroker, topic } from "./broker-under-test.ts";

it("the broker accepts a Mosquitto bridge with default settings, drops its will, and exchanges messages in both directions", async () => {
  const test = await startTestBroker();
  const state = topic("cameras/north/about");
  const event = topic("cameras/north/events/capture.completed");
  const command = topic("cameras/north/commands/capture.now");
  const camera = await test.join({ ...NORTH, clientId: "camera-north" });
  await camera.client.subscribeAsync(topic("cameras/north/commands/+"), { qos: 1 });
  await camera.client.publishAsync(state, "before", { qos: 1, retain: true });

  const mosquitto = await startMosquitto({
    lines: () => [
      "connection ours",
      `address 127.0.0.1:${test.broker.ports.mqtt}`,
      "remote_username bridge",
      `remote_password ${test.token(["camera:read", "camera:control"])}`,
      `topic ${topic("cameras/north/about")} in 1`,
      `topic ${topic("cameras/north/events/#")} in 1`,
      `topic ${command} out 1`,
    ],
  });
  onTestFinished(() => mosquitto.remove());
  const local = await connected(connect(mosquitto.url, { reconnectPeriod: 0 }));
  const inbox = inboxOf(local);
  await local.subscribeAsync(topic("cameras/#"), { qos: 1 });
  expect((await inbox.has(1)).map(({ payload }) => payload)).toEqual(["before"]);
  const line = await test.logged("will dropped");
  expect(line).toMatchObject({ identity: "user:alice", topic: expect.stringContaining("$SYS/broker/connection/") });
  expect(test.broker.clients().some(({ clientId }) => clientId.endsWith(".ours"))).toBe(true);

  await camera.client.publishAsync(event, "a picture", { qos: 1 });
  expect((await inbox.has(2)).map(({ payload }) => payload)).toEqual(["before", "a picture"]);
  await local.publishAsync(command, JSON.stringify({ id: "c1" }), { qos: 1 });
  expect((await camera.inbox.has(1)).map(({ topic }) => topic)).toEqual([command]);
  // The bridge connected only once: the refusals did not close its connection.
  expect(
    test.log.filter(({ msg, clientId }) => msg === "client connected" && String(clientId).endsWith(".ours")),
  ).toHaveLength(1);
});

it("the broker accepts a client with the birth and will of Home Assistant, which reads its sensors", async () => {
  const test = await startTestBroker();
  const status = "homeassistant/status";
  const will = { topic: status, payload: Buffer.from("offline"), qos: 0 as const, retain: false };
  const { client, inbox } = await test.join({
    ...{ username: "homeassistant", password: test.token(["dashboard:read"]), keepalive: 60, clean: true, will },
  });
  const state = topic("cameras/north/state/power");
  await client.subscribeAsync(state, { qos: 0 });
  client.publish(status, "online", { qos: 0 });
  const camera = await test.client(NORTH);
  await camera.publishAsync(state, "{}", { qos: 1, retain: true });
  expect((await inbox.has(1)).map(({ topic }) => topic)).toEqual([state]);
  expect(client.connected).toBe(true);
  expect(await test.logged("will dropped")).toMatchObject({ topic: status });
});

it("what a Mosquitto retains behind a bridge with MQTT 5 follows the broker, cleared messages too", async () => {
  const test = await startTestBroker();
  const [first, second] = ["about", "alerts/disk"].map((name) => topic(`cameras/north/${name}`));
  if (first === undefined || second === undefined) expect.fail("no topics");
  const camera = await test.client(NORTH);
  const retained = { qos: 1, retain: true } as const;
  for (const name of [first, second]) await camera.publishAsync(name, "before", retained);
  const mosquitto = await startMosquitto({
    lines: () => [
      "connection ours",
      `address 127.0.0.1:${test.broker.ports.mqtt}`,
      "remote_username bridge",
      `remote_password ${test.token(["camera:read"])}`,
      "bridge_protocol_version mqttv50",
      `topic ${topic("cameras/#")} in 1`,
    ],
  });
  onTestFinished(() => mosquitto.remove());
  const early = await connected(connect(mosquitto.url, { reconnectPeriod: 0 }));
  const inbox = inboxOf(early);
  await early.subscribeAsync(topic("cameras/#"), { qos: 1 });
  await inbox.has(2);
  await camera.publishAsync(first, "after", retained);
  await camera.publishAsync(second, "", retained);
  await inbox.has(4);
  const late = await connected(connect(mosquitto.url, { reconnectPeriod: 0 }));
  const kept = inboxOf(late);
  await late.subscribeAsync(topic("cameras/#"), { qos: 1 });
  await kept.has(1);
  // The answer to a second SUBSCRIBE comes after all retained messages of the first one.
  await late.subscribeAsync(topic("cameras/+/about"), { qos: 1 });
  expect(new Map(kept.messages.map(({ topic: name, payload }) => [name, payload]))).toEqual(
    new Map([[first, "after"]]),
  );
  for (const client of [early, late]) await client.endAsync();
});

it("cameras at a Mosquitto reach the server through its bridge, also with what they send while the server is away", async () => {
  const test = await startTestBroker();
  const port = test.broker.ports.mqtt;
  const proxy = await BadLink.open(port ?? 0);
  onTestFinished(() => proxy.close());
  const mosquitto = await startMosquitto({
    lines: () => [
      "connection up",
      `address 127.0.0.1:${proxy.port}`,
      "bridge_protocol_version mqttv50",
      "cleansession false",
      "notifications false",
      "restart_timeout 1",
      "remote_username bridge",
      `remote_password ${test.token(["device:north"])}`,
      `topic ${topic("cameras/north/#")} out 1`,
      `topic ${topic("cameras/north/commands/+")} in 1`,
    ],
  });
  onTestFinished(() => mosquitto.remove());
  const camera = await connected(connect(mosquitto.url, { reconnectPeriod: 0 }));
  const inbox = inboxOf(camera);
  await camera.subscribeAsync(topic("cameras/north/commands/+"), { qos: 1 });
  const event = topic("cameras/north/events/capture.completed");
  // The bridge sends a message again whose acknowledgement was lost with the connection [MQTT-4.4.0-1].
  const texts = () => [...new Set(test.ingest.accepted.map(({ payload }) => String(payload)))];
  await camera.publishAsync(event, "1", { qos: 1 });
  await expect.poll(texts).toEqual(["1"]);
  proxy.down = true;
  for (const text of ["2", "3", "4"]) await camera.publishAsync(event, text, { qos: 1 });
  proxy.down = false;
  await expect.poll(texts).toEqual(["1", "2", "3", "4"]);
  await camera.publishAsync(topic("cameras/north/about"), "5", { qos: 1, retain: true });
  await expect.poll(() => test.ingest.accepted.at(-1)).toMatchObject({ identity: "user:alice", qos: 1, retain: true });
  const controller = await test.client({ username: "alice", password: test.token(["camera:north:control"]) });
  await controller.publishAsync(topic("cameras/north/commands/capture.now"), JSON.stringify({ id: "c1" }), {
    qos: 1,
  });
  expect((await inbox.has(1)).map(({ payload }) => payload)).toEqual([expect.stringContaining('"id":"c1"')]);
});

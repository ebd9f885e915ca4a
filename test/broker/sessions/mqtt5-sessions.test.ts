import type { IClientOptions } from "mqtt";
import { expect, it } from "vitest";
import { startTestBroker } from "../broker-under-test.ts";

it("a session of an MQTT 5 client goes on with MQTT 3.1.1, without the options of its subscriptions", async () => {
  const broker = await startTestBroker();
  const admin = { username: "alice", password: broker.token(["admin"]), clientId: "archive", clean: false };
  const asFive: IClientOptions = { ...admin, protocolVersion: 5, properties: { sessionExpiryInterval: 60 } };
  const five = await broker.client(asFive);
  await five.subscribeAsync("plant/#", { qos: 1, rap: true, properties: { subscriptionIdentifier: 7 } });
  await five.endAsync();
  const sender = await broker.client({ ...admin, clientId: "sender", clean: true });
  await sender.publishAsync("plant/a", "1", { qos: 1, retain: true });
  const { client, inbox } = await broker.join(admin);
  await inbox.has(1);
  await sender.publishAsync("plant/b", "2", { qos: 1, retain: true });
  await inbox.has(2);
  expect(inbox.messages.map(({ topic, retain }) => [topic, retain])).toEqual([
    ["plant/a", false],
    ["plant/b", false],
  ]);
  await client.endAsync();
});

it("a publication or a will with larger properties than MAX_MQTT_PROPERTIES_BYTES is refused, which the log and the client learn", async () => {
  const broker = await startTestBroker({ env: { MAX_MQTT_PROPERTIES_BYTES: "64" } });
  const admin = { username: "alice", password: broker.token(["admin"]), protocolVersion: 5 as const };
  const large = { userProperties: { name: "x".repeat(80) } };
  const will = { topic: "plant/will", payload: Buffer.from("gone"), qos: 1 as const, retain: false, properties: large };
  const client = await broker.client({ ...admin, clientId: "sender", will });
  await broker.logged("will dropped");
  await expect(client.publishAsync("plant/a", "1", { qos: 1, properties: large })).rejects.toThrow();
  await broker.logged("MAX_MQTT_PROPERTIES_BYTES, which is 64");
  await client.publishAsync("plant/a", "1", { qos: 1, properties: { userProperties: { name: "x" } } });
});

import { expect, it } from "vitest";
import { type BrokerUnderTest, type Received, startTestBroker } from "./broker-under-test.ts";
import { connectPacket, rawClient, rawSession, subscribePacket, TYPE } from "./raw-client.ts";

// The cases of Eclipse Paho's interoperability tests for MQTT 3.1.1 brokers, with clients in their default settings:
// client ids that begin with U+FEFF, a keep-alive of 0, topics of any form. This broker deliberately refuses three
// things that these tests assume: a CONNECT without a password, topics outside TOPIC_ROOT for non-administrators, and
// writing to `$SYS`.

const A = "\ufeffmyclientid";
const B = "\ufeffmyclientid2";
const TOPICS = ["TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA"];

function join(test: BrokerUnderTest, clientId: string, clean = true) {
  return test.join({ ...admin(test), clientId, clean, keepalive: 0 });
}

function admin(test: BrokerUnderTest) {
  return { username: "admin", password: test.token(["admin"]) };
}

const contents = (messages: readonly Received[]) => messages.map(({ payload, qos }) => [payload, qos]);

it("basic: the broker delivers messages of each QoS, and closes the connection at a second CONNECT", async () => {
  const test = await startTestBroker();
  await (await join(test, A)).client.endAsync();
  const { client, inbox } = await join(test, A);
  await client.subscribeAsync("TopicA", { qos: 2 });
  for (const qos of [0, 1, 2] as const) await client.publishAsync("TopicA", `qos ${qos}`, { qos });
  expect(contents(await inbox.has(3))).toEqual([
    ["qos 0", 0],
    ["qos 1", 1],
    ["qos 2", 2],
  ]);
  await client.endAsync();
  const raw = await rawSession(test.broker.ports.mqtt, { ...admin(test), clientId: A, keepalive: 0 });
  raw.send(connectPacket({ ...admin(test), clientId: A, keepalive: 0 }));
  await raw.ended;
});

it("retained messages: they reach a later subscriber with the retain flag, and empty payloads clear them", async () => {
  const test = await startTestBroker();
  const { client } = await join(test, A);
  // With Redis, a message may be acknowledged before it is dispatched. A message that the witness has received is
  // dispatched.
  const witness = await join(test, "witness");
  await witness.client.subscribeAsync("+/+", { qos: 2 });
  for (const [qos, topic] of [
    [0, "TopicA/B"],
    [1, "Topic/C"],
    [2, "TopicA/C"],
  ] as const)
    await client.publishAsync(topic, `qos ${qos}`, { qos, retain: true });
  await witness.inbox.has(3);
  const later = await join(test, B);
  await later.client.subscribeAsync("+/+", { qos: 2 });
  const messages = await later.inbox.has(3);
  expect(messages.map(({ topic, qos, retain }) => [topic, qos, retain]).sort()).toEqual([
    ["Topic/C", 1, true],
    ["TopicA/B", 0, true],
    ["TopicA/C", 2, true],
  ]);
  await later.client.endAsync();
  for (const topic of ["TopicA/B", "Topic/C", "TopicA/C"])
    await client.publishAsync(topic, "", { qos: 1, retain: true });
  await witness.inbox.has(6);
  const none = await join(test, B);
  await none.client.subscribeAsync("+/+", { qos: 2 });
  await none.client.publishAsync("TopicA/B", "live", { qos: 1 });
  expect((await none.inbox.has(1)).map(({ payload }) => payload)).toEqual(["live"]);
});

it.each([
  [false, 2],
  [true, 0],
])("zero length client id: with clean session %s the CONNACK is %i", async (clean, code) => {
  const test = await startTestBroker();
  const raw = await rawClient(test.broker.ports.mqtt);
  raw.send(connectPacket({ ...admin(test), clientId: "", clean, keepalive: 0 }));
  expect((await raw.next(TYPE.connack)).readUInt8(1)).toBe(code);
});

it("will message: it is published when the connection closes without a DISCONNECT", async () => {
  const test = await startTestBroker();
  const will = { topic: "TopicC", payload: Buffer.from("client not disconnected"), qos: 0 as const, retain: true };
  const leaving = await test.client({ ...admin(test), clientId: A, keepalive: 2, will });
  const { client, inbox } = await join(test, B, false);
  await client.subscribeAsync("TopicC", { qos: 2 });
  leaving.stream.destroy();
  expect((await inbox.has(1)).map(({ payload }) => payload)).toEqual(["client not disconnected"]);
});

it("offline message queueing: the broker delivers messages after the client has reconnected", async () => {
  const test = await startTestBroker();
  const first = await join(test, A, false);
  await first.client.subscribeAsync("+/+", { qos: 2 });
  await first.client.endAsync();
  const { client } = await join(test, B);
  for (const [qos, topic] of [
    [0, "TopicA/B"],
    [1, "Topic/C"],
    [2, "TopicA/C"],
  ] as const)
    await client.publishAsync(topic, `qos ${qos}`, { qos });
  const { inbox } = await join(test, A, false);
  // A broker need not queue messages of QoS 0 [MQTT-3.1.2.4].
  expect(contents(await inbox.has(2))).toEqual([
    ["qos 1", 1],
    ["qos 2", 2],
  ]);
});

it("overlapping subscriptions: the broker delivers a message at the highest QoS", async () => {
  const test = await startTestBroker();
  const { client, inbox } = await join(test, A);
  await client.subscribeAsync({ "TopicA/#": { qos: 2 }, "TopicA/+": { qos: 1 } });
  await client.publishAsync("TopicA/C", "overlapping topic filters", { qos: 2 });
  expect(contents(await inbox.has(1))).toEqual([["overlapping topic filters", 2]]);
  await client.publishAsync("TopicA/B", "next", { qos: 1 });
  expect((await inbox.has(2)).map(({ payload }) => payload)).toEqual(["overlapping topic filters", "next"]);
});

it("keep-alive: the broker disconnects a silent client and publishes its will, except with keep-alive 0", async () => {
  const test = await startTestBroker();
  const { client, inbox } = await join(test, B);
  await client.subscribeAsync("/TopicA", { qos: 2 });
  const will = { topic: "/TopicA", payload: "keepalive expiry" };
  const silent = await rawSession(test.broker.ports.mqtt, { ...admin(test), clientId: A, keepalive: 1, will });
  expect((await inbox.has(1)).map(({ payload }) => payload)).toEqual(["keepalive expiry"]);
  await silent.ended;
  expect(client.connected).toBe(true);
});

it("redelivery on reconnect: the broker resends unacknowledged messages", async () => {
  const test = await startTestBroker();
  const session = { ...admin(test), clientId: B, clean: false, keepalive: 0 };
  const first = await rawSession(test.broker.ports.mqtt, session);
  first.send(subscribePacket([["+/+", 2]]));
  await first.next(TYPE.suback);
  const { client } = await join(test, A);
  await client.publishAsync("TopicA/B", "one", { qos: 1 });
  await client.publishAsync("TopicA/C", "two", { qos: 2 });
  const sent = [await first.next(TYPE.publish), await first.next(TYPE.publish)];
  first.socket.destroy();
  const second = await rawSession(test.broker.ports.mqtt, session);
  expect(second.sessionPresent).toBe(true);
  expect([await second.next(TYPE.publish), await second.next(TYPE.publish)]).toEqual(sent);
});

it("subscribe failure: the broker answers a forbidden filter with 0x80 and grants the packet's other filters", async () => {
  const test = await startTestBroker();
  const user = { username: "reader", password: test.token(["camera:read"]) };
  const raw = await rawSession(test.broker.ports.mqtt, { ...user, clientId: A, keepalive: 0 });
  raw.send(
    subscribePacket([
      ["test/nosubscribe", 2],
      ["skylapse/v1/cameras/#", 2],
    ]),
  );
  expect([...(await raw.next(TYPE.suback)).subarray(2)]).toEqual([0x80, 2]);
});

it("dollar topics: a leading wildcard does not match them", async () => {
  const test = await startTestBroker();
  const { client, inbox } = await join(test, A);
  await client.subscribeAsync("+/#", { qos: 2 });
  for (const topic of TOPICS.slice(1, 2)) {
    await client.publishAsync(`$${topic}`, "not delivered", { qos: 1 });
    await client.publishAsync(topic, "delivered", { qos: 1 });
  }
  expect((await inbox.has(1)).map(({ topic }) => topic)).toEqual(["TopicA/B"]);
});

it("unsubscribe: the broker ends only the given subscription", async () => {
  const test = await startTestBroker();
  const { client, inbox } = await join(test, B);
  await client.subscribeAsync(["TopicA", "TopicA/B", "Topic/C"], { qos: 2 });
  await client.unsubscribeAsync("TopicA");
  for (const topic of ["TopicA", "TopicA/B", "Topic/C"]) await client.publishAsync(topic, "x", { qos: 1 });
  expect((await inbox.has(2)).map(({ topic }) => topic)).toEqual(["TopicA/B", "Topic/C"]);
});

it("the broker refuses a CONNECT without a password, which Eclipse Paho's tests send", async () => {
  const test = await startTestBroker();
  await expect(test.client({ clientId: A, keepalive: 0 })).rejects.toMatchObject({ code: 5 });
});

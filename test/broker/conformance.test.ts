import { expect, it } from "vitest";
import { type BrokerUnderTest, type Received, startTestBroker } from "./broker-under-test.ts";
import { connectPacket, rawClient, rawSession, subscribePacket, TYPE } from "./raw-client.ts";

// What the interoperability tests of Eclipse Paho try of a broker of MQTT 3.1.1, as clients with default settings do it: client
// ids that begin with U+FEFF, a keep-alive of 0, topics of any form. Three things they take for granted are refused here on
// purpose: a CONNECT without a password, topics outside TOPIC_ROOT for anybody but an administrator, and writing to `$SYS`.

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

it("basic: messages of each QoS come, and a second CONNECT ends the connection", async () => {
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

it("retained messages: come to a later subscriber, marked as such, and are cleared by empty ones", async () => {
  const test = await startTestBroker();
  const { client } = await join(test, A);
  for (const [qos, topic] of [
    [0, "TopicA/B"],
    [1, "Topic/C"],
    [2, "TopicA/C"],
  ] as const)
    await client.publishAsync(topic, `qos ${qos}`, { qos, retain: true });
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
  const none = await join(test, B);
  await none.client.subscribeAsync("+/+", { qos: 2 });
  await none.client.publishAsync("TopicA/B", "live", { qos: 1 });
  expect((await none.inbox.has(1)).map(({ payload }) => payload)).toEqual(["live"]);
});

it.each([
  [false, 2],
  [true, 0],
])("zero length client id: with clean session %s it is answered with %i", async (clean, code) => {
  const test = await startTestBroker();
  const raw = await rawClient(test.broker.ports.mqtt);
  raw.send(connectPacket({ ...admin(test), clientId: "", clean, keepalive: 0 }));
  expect((await raw.next(TYPE.connack)).readUInt8(1)).toBe(code);
});

it("will message: comes when the connection ends without a DISCONNECT", async () => {
  const test = await startTestBroker();
  const will = { topic: "TopicC", payload: Buffer.from("client not disconnected"), qos: 0 as const, retain: true };
  const leaving = await test.client({ ...admin(test), clientId: A, keepalive: 2, will });
  const { client, inbox } = await join(test, B, false);
  await client.subscribeAsync("TopicC", { qos: 2 });
  leaving.stream.destroy();
  expect((await inbox.has(1)).map(({ payload }) => payload)).toEqual(["client not disconnected"]);
});

it("offline message queueing: what is published while the client is away comes when it is back", async () => {
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
  // QoS 0 may be left out [MQTT-3.1.2.4].
  expect(contents(await inbox.has(2))).toEqual([
    ["qos 1", 1],
    ["qos 2", 2],
  ]);
});

it("overlapping subscriptions: the message comes at the highest QoS of them", async () => {
  const test = await startTestBroker();
  const { client, inbox } = await join(test, A);
  await client.subscribeAsync({ "TopicA/#": { qos: 2 }, "TopicA/+": { qos: 1 } });
  await client.publishAsync("TopicA/C", "overlapping topic filters", { qos: 2 });
  expect(contents(await inbox.has(1))).toEqual([["overlapping topic filters", 2]]);
  await client.publishAsync("TopicA/B", "next", { qos: 1 });
  expect((await inbox.has(2)).map(({ payload }) => payload)).toEqual(["overlapping topic filters", "next"]);
});

it("keep-alive: a client that falls silent is ended and its will comes; one with keep-alive 0 need say nothing", async () => {
  const test = await startTestBroker();
  const { client, inbox } = await join(test, B);
  await client.subscribeAsync("/TopicA", { qos: 2 });
  const will = { topic: "/TopicA", payload: "keepalive expiry" };
  const silent = await rawSession(test.broker.ports.mqtt, { ...admin(test), clientId: A, keepalive: 1, will });
  expect((await inbox.has(1)).map(({ payload }) => payload)).toEqual(["keepalive expiry"]);
  await silent.ended;
  expect(client.connected).toBe(true);
});

it("redelivery on reconnect: what was not acknowledged comes again", async () => {
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

it("subscribe failure: a filter that may not be read is answered with 0x80, and the others of the packet stand", async () => {
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

it("dollar topics: a filter that begins with a wildcard does not match them", async () => {
  const test = await startTestBroker();
  const { client, inbox } = await join(test, A);
  await client.subscribeAsync("+/#", { qos: 2 });
  for (const topic of TOPICS.slice(1, 2)) {
    await client.publishAsync(`$${topic}`, "not delivered", { qos: 1 });
    await client.publishAsync(topic, "delivered", { qos: 1 });
  }
  expect((await inbox.has(1)).map(({ topic }) => topic)).toEqual(["TopicA/B"]);
});

it("unsubscribe: what is unsubscribed from comes no more, the rest does", async () => {
  const test = await startTestBroker();
  const { client, inbox } = await join(test, B);
  await client.subscribeAsync(["TopicA", "TopicA/B", "Topic/C"], { qos: 2 });
  await client.unsubscribeAsync("TopicA");
  for (const topic of ["TopicA", "TopicA/B", "Topic/C"]) await client.publishAsync(topic, "x", { qos: 1 });
  expect((await inbox.has(2)).map(({ topic }) => topic)).toEqual(["TopicA/B", "Topic/C"]);
});

it("a CONNECT without a password, which the tests of Eclipse Paho send, is refused: access is denied by default", async () => {
  const test = await startTestBroker();
  await expect(test.client({ clientId: A, keepalive: 0 })).rejects.toMatchObject({ code: 5 });
});

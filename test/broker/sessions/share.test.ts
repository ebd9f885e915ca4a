import type { MqttClient } from "mqtt";
import { describe, expect, it } from "vitest";
import { granted, type Inbox, NORTH, startTestBroker, temporaryFolder, topic } from "../broker-under-test.ts";
import { connectPacket, idPacket, rawClient, rawSession, subscribePacket, TYPE } from "../raw-client.ts";

const EVENT = topic("cameras/north/events/capture.completed");
const SHARED = `$share/workers/${topic("cameras/+/events/#")}`;

type Test = Awaited<ReturnType<typeof startTestBroker>>;

/** A client of alice that subscribes to the group. */
async function member(test: Test, clientId: string, qos: 0 | 1 | 2 = 1, clean = true) {
  const password = test.token(["dashboard:read"]);
  const { client, inbox } = await test.join({ username: "alice", password, clientId, clean });
  await client.subscribeAsync(SHARED, { qos });
  return { client, inbox };
}

/** As {@link member}, without automatic acknowledgements. */
async function rawMember(test: Test, clientId: string, qos: 0 | 1 | 2, clean: boolean) {
  const password = test.token(["dashboard:read"]);
  const client = await rawSession(test.broker.ports.mqtt, { clientId, username: "alice", password, clean });
  client.send(subscribePacket([[SHARED, qos]]));
  expect([...(await client.next(TYPE.suback)).subarray(2)]).toEqual([qos]);
  return client;
}

function publish(camera: MqttClient, names: readonly string[], qos: 0 | 1 | 2 = 1): Promise<unknown> {
  return Promise.all(names.map((name) => camera.publishAsync(EVENT, name, { qos })));
}

function payloads(...inboxes: Inbox[]): string[] {
  return inboxes.flatMap(({ messages }) => messages.map(({ payload }) => payload)).sort();
}

function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, index) => String(index).padStart(4, "0"));
}

/** The message id and payload of a PUBLISH without properties. */
function read(body: Buffer): { id: number; payload: string } {
  const at = 2 + body.readUInt16BE(0);
  return { id: body.readUInt16BE(at), payload: body.subarray(at + 2).toString() };
}

describe("a shared subscription", () => {
  it.each([0, 1, 2] as const)("gives each message of QoS %i to one member, in equal shares", async (qos) => {
    const test = await startTestBroker();
    const members = [await member(test, "a", qos), await member(test, "b", qos), await member(test, "c", qos)];
    const camera = await test.client(NORTH);
    for (const name of numbered(30)) await publish(camera, [name], qos);
    const inboxes = members.map(({ inbox }) => inbox);
    await expect.poll(() => payloads(...inboxes)).toEqual(numbered(30));
    for (const { messages } of inboxes) {
      expect(messages).toHaveLength(10);
      expect(new Set(messages.map((message) => message.qos))).toEqual(new Set([qos]));
    }
    await expect.poll(() => test.broker.stats()).toMatchObject({ shareGroups: 1, shareMembers: 3, shareBacklog: 0 });
  });

  it("gets no retained messages, and the client's other subscriptions get their copies [MQTT-3.8.4-4]", async () => {
    const test = await startTestBroker();
    const camera = await test.client(NORTH);
    await camera.publishAsync(topic("cameras/north/events/x"), "kept", { qos: 1, retain: true });
    await camera.publishAsync(topic("cameras/north/about"), "about", { qos: 1, retain: true });
    const password = test.token(["dashboard:read"]);
    const { client, inbox } = await test.join({ username: "alice", password, clientId: "a" });
    await client.subscribeAsync(`$share/workers/${topic("cameras/#")}`, { qos: 1 });
    await client.subscribeAsync(EVENT, { qos: 0 });
    await publish(camera, ["live"]);
    await inbox.has(2);
    expect(inbox.messages.map(({ payload, qos, retain }) => [payload, qos, retain]).sort()).toEqual([
      ["live", 0, false],
      ["live", 1, false],
    ]);
  });

  it("is refused if its name or filter is malformed, or its filter is not permitted [MQTT-4.8.2-1] [MQTT-4.8.2-2]", async () => {
    const test = await startTestBroker();
    const client = await test.client({ username: "alice", password: test.token(["camera:north:read"]) });
    const filters = ["$share/workers", "$share//a", "$share/+/a", "$share/#", "$share/workers/", "$share"];
    filters.push(`$share/workers/${topic("cameras/#")}`, "$share/workers/$SYS/#");
    for (const filter of filters) {
      const grants = await client.subscribeAsync(filter, { qos: 1 }).catch(() => "refused");
      expect([filter, typeof grants === "string" ? grants : granted(grants)]).toEqual([filter, "refused"]);
    }
    expect(test.broker.stats()).toMatchObject({ refusedSubscriptions: filters.length, shareGroups: 0 });
  });

  it("begins with a SUBSCRIBE that comes in one write with CONNECT", async () => {
    const test = await startTestBroker();
    const camera = await test.client(NORTH);
    for (const clean of [true, false]) {
      const session = { clientId: "a", username: "alice", password: test.token(["dashboard:read"]), clean };
      const client = await rawClient(test.broker.ports.mqtt);
      client.send(Buffer.concat([connectPacket(session), subscribePacket([[SHARED, 1]])]));
      await client.next(TYPE.suback);
      await publish(camera, ["one"]);
      expect(read(await client.next(TYPE.publish)).payload).toBe("one");
      client.socket.destroy();
      await expect.poll(() => test.broker.stats().clients).toBe(1);
    }
  });

  it("is separate for each user", async () => {
    const test = await startTestBroker();
    const alice = await member(test, "a");
    const password = test.token(["dashboard:read"], 60_000, { userId: "bob" });
    const { client, inbox } = await test.join({ username: "bob", password, clientId: "a" });
    await client.subscribeAsync(SHARED, { qos: 1 });
    await publish(await test.client(NORTH), ["one", "two"]);
    await Promise.all([alice.inbox.has(2), inbox.has(2)]);
    expect([payloads(alice.inbox), payloads(inbox)]).toEqual([
      ["one", "two"],
      ["one", "two"],
    ]);
  });

  it("is limited for each user, and for all", async () => {
    const env = { MAX_MQTT_SHARE_GROUPS_PER_USER: "2", MAX_MQTT_SHARE_GROUPS: "3" };
    const test = await startTestBroker({ env });
    const client = await test.client({ username: "alice", password: test.token(["dashboard:read"]) });
    const [one = "", two = "", three = ""] = ["one", "two", "three"].map((name) => `$share/${name}/${EVENT}`);
    for (const share of [one, two]) await client.subscribeAsync(share, { qos: 1 });
    await expect(client.subscribeAsync(three, { qos: 1 })).rejects.toThrow();
    await test.logged("(MAX_MQTT_SHARE_GROUPS_PER_USER)");
    await client.unsubscribeAsync(one);
    expect(granted(await client.subscribeAsync(three, { qos: 1 }))).toEqual([1]);
    const password = test.token(["dashboard:read"], 60_000, { userId: "bob" });
    const bob = await test.client({ username: "bob", password });
    expect(granted(await bob.subscribeAsync(one, { qos: 1 }))).toEqual([1]);
    await expect(bob.subscribeAsync(two, { qos: 1 })).rejects.toThrow();
    await test.logged("(MAX_MQTT_SHARE_GROUPS)");
  });

  it("does not wait for a member that acknowledges nothing, which gets 64 messages", async () => {
    const test = await startTestBroker();
    const silent = await rawMember(test, "silent", 1, true);
    const camera = await test.client(NORTH);
    await publish(camera, numbered(100));
    const held = () => silent.packets.filter(({ type }) => type === TYPE.publish).map(({ body }) => read(body).payload);
    await expect.poll(() => held().length).toBe(64);
    const { inbox } = await member(test, "quick");
    await publish(camera, numbered(200).slice(100));
    await expect.poll(() => [...held(), ...payloads(inbox)].sort()).toEqual(numbered(200));
    expect(held()).toHaveLength(64);
    silent.socket.destroy();
    await expect.poll(() => payloads(inbox)).toEqual(numbered(200));
  });

  it.each([true, false])("gives what a member did not acknowledge to another one, clean session %s", async (clean) => {
    const test = await startTestBroker();
    const dying = await rawMember(test, "dying", 1, clean);
    const camera = await test.client(NORTH);
    await publish(camera, numbered(10));
    for (let acknowledged = 0; acknowledged < 4; acknowledged++)
      dying.send(idPacket(TYPE.puback, read(await dying.next(TYPE.publish)).id));
    await expect.poll(() => test.broker.stats().shareBacklog).toBe(6);
    const { inbox } = await member(test, "living");
    dying.socket.destroy();
    expect(payloads({ ...inbox, messages: await inbox.has(6) })).toEqual(numbered(10).slice(4));
    await expect.poll(() => test.broker.stats().shareBacklog).toBe(0);
  });

  it("gives what a member did not acknowledge to another one after 1.5 times its keep-alive [MQTT-3.1.2-24]", async () => {
    const test = await startTestBroker();
    const options = { username: "alice", password: test.token(["dashboard:read"]), keepalive: 1 };
    const silent = await rawSession(test.broker.ports.mqtt, { ...options, clientId: "silent" });
    silent.send(subscribePacket([[SHARED, 1]]));
    await silent.next(TYPE.suback);
    await publish(await test.client(NORTH), ["one"]);
    await silent.next(TYPE.publish);
    const { inbox } = await member(test, "living");
    await inbox.has(1);
    expect(payloads(inbox)).toEqual(["one"]);
  });

  it("completes a message of QoS 2 to its member, and gives it to no other [MQTT-4.8.2-4]", async () => {
    const test = await startTestBroker();
    const first = await rawMember(test, "first", 2, false);
    const camera = await test.client(NORTH);
    await publish(camera, ["one", "two"], 2);
    const one = read(await first.next(TYPE.publish));
    const two = read(await first.next(TYPE.publish));
    first.send(idPacket(TYPE.pubrec, one.id));
    expect((await first.next(TYPE.pubrel)).readUInt16BE(0)).toBe(one.id);
    const { inbox } = await member(test, "second", 2);
    first.socket.destroy();
    await publish(camera, ["three"], 2);
    await inbox.has(1);
    const password = test.token(["dashboard:read"]);
    const again = await rawSession(test.broker.ports.mqtt, {
      clientId: "first",
      username: "alice",
      password,
      clean: false,
    });
    expect((await again.next(TYPE.pubrel)).readUInt16BE(0)).toBe(one.id);
    expect(read(await again.next(TYPE.publish))).toEqual(two);
    for (const { id } of [one, two]) again.send(idPacket(TYPE.pubcomp, id));
    await expect.poll(() => test.broker.stats().shareBacklog).toBe(0);
    expect(payloads(inbox)).toEqual(["three"]);
  });

  it("ends a message of QoS 2 with the session of its member [MQTT-4.8.2-5]", async () => {
    const test = await startTestBroker();
    const first = await rawMember(test, "first", 2, true);
    const camera = await test.client(NORTH);
    await publish(camera, ["one"], 2);
    await first.next(TYPE.publish);
    const { inbox } = await member(test, "second", 2);
    first.socket.destroy();
    await expect.poll(() => test.broker.stats().shareMembers).toBe(1);
    await publish(camera, ["two"], 2);
    await inbox.has(1);
    expect(payloads(inbox)).toEqual(["two"]);
    await expect.poll(() => test.broker.stats().shareBacklog).toBe(0);
  });

  it("with clean sessions ends with its last member", async () => {
    const test = await startTestBroker();
    const { client } = await member(test, "a");
    await client.endAsync();
    await expect.poll(() => test.broker.stats()).toMatchObject({ shareGroups: 0, shareMembers: 0 });
    await publish(await test.client(NORTH), ["missed"]);
    const { inbox } = await member(test, "a");
    await publish(await test.client(NORTH), ["live"]);
    await inbox.has(1);
    expect(payloads(inbox)).toEqual(["live"]);
  });

  it("keeps messages while its persistent members are away, over a restart, up to the limits of a session", async () => {
    const dataPath = temporaryFolder();
    const env = { MAX_OFFLINE_MESSAGES: "1000" };
    const before = await startTestBroker({ dataPath, env });
    for (const name of ["a", "b"]) await (await member(before, name, 1, false)).client.endAsync();
    const camera = await before.client(NORTH);
    await publish(camera, numbered(100));
    await expect
      .poll(() => before.broker.stats())
      .toMatchObject({ shareGroups: 1, shareMembers: 2, shareBacklog: 100 });
    await before.broker.stop();

    const after = await startTestBroker({ dataPath, env });
    expect(after.broker.stats()).toMatchObject({ shareGroups: 1, shareMembers: 2, shareBacklog: 100 });
    const password = after.token(["dashboard:read"]);
    const options = { username: "alice", password, clean: false };
    const [a, b] = [await after.join({ ...options, clientId: "a" }), await after.join({ ...options, clientId: "b" })];
    await expect.poll(() => payloads(a.inbox, b.inbox)).toEqual(numbered(100));
    await Promise.all([a.client.endAsync(), b.client.endAsync()]);
    const again = await after.client(NORTH);
    for (let at = 0; at < 1300; at += 100) await publish(again, numbered(1300).slice(at, at + 100));
    await expect.poll(() => after.broker.stats().droppedOfflineMessages).toBeGreaterThan(250);
    await expect.poll(() => after.broker.stats().shareBacklog).toBeLessThanOrEqual(1000);
    const { inbox } = await after.join({ ...options, clientId: "a" });
    await expect.poll(() => inbox.messages.at(-1)?.payload).toBe("1299");
  });

  it("finds all of its messages in a log that was compacted and trimmed", async () => {
    const dataPath = temporaryFolder();
    const env = { MAX_OFFLINE_LOG_BYTES: "8000000" };
    const before = await startTestBroker({ dataPath, env });
    await (await member(before, "a", 1, false)).client.endAsync();
    const publish = (below: string, name: string) =>
      before.broker.publish({ topic: topic(below), payload: Buffer.from(name.padEnd(60_000)), qos: 1, retain: false });
    // For nobody, for the group, and again for nobody.
    for (const name of numbered(20)) await publish("cameras/north/other/x", name);
    for (const name of numbered(20)) {
      await publish("cameras/north/events/x", name);
      await publish("cameras/north/other/x", name);
    }
    await before.logged("log of MQTT sessions compacted");
    await before.broker.stop();
    // The messages are not in memory any more.
    const after = await startTestBroker({ dataPath, env });
    const password = after.token(["dashboard:read"]);
    const { inbox } = await after.join({ username: "alice", password, clientId: "a", clean: false });
    await expect.poll(() => payloads(inbox).map((text) => text.trim())).toEqual(numbered(20));
    expect(after.broker.stats().droppedOfflineMessages).toBe(0);
  });

  it("loses a member that unsubscribes, or whose session is discarded", async () => {
    const test = await startTestBroker();
    const [a, b] = [await member(test, "a", 1, false), await member(test, "b", 1, false)];
    await a.client.unsubscribeAsync(SHARED);
    expect(test.broker.stats().shareMembers).toBe(1);
    const camera = await test.client(NORTH);
    await publish(camera, numbered(4));
    await b.inbox.has(4);
    await b.client.endAsync();
    expect(test.broker.stats().shareMembers).toBe(1);
    const password = test.token(["dashboard:read"]);
    await test.client({ username: "alice", password, clientId: "b", clean: true });
    expect(test.broker.stats()).toMatchObject({ shareGroups: 0, shareMembers: 0 });
    expect(payloads(a.inbox)).toEqual([]);
  });

  it("gives a member only what the member may read", async () => {
    const test = await startTestBroker();
    const filter = `$share/workers/${topic("cameras/north/#")}`;
    const admin = await test.join({ username: "alice", password: test.token(["admin"]), clientId: "admin" });
    const reader = await test.join({ username: "alice", password: test.token(["camera:read"]), clientId: "reader" });
    for (const { client } of [admin, reader]) await client.subscribeAsync(filter, { qos: 1 });
    const command = topic("cameras/north/commands/reboot");
    for (let at = 0; at < 6; at++)
      await test.broker.publish({ topic: command, payload: Buffer.from("c"), qos: 1, retain: false });
    expect(payloads({ ...admin.inbox, messages: await admin.inbox.has(6) })).toHaveLength(6);
    await publish(await test.client(NORTH), numbered(4));
    await expect.poll(() => reader.inbox.messages.length + admin.inbox.messages.length).toBe(10);
    expect(new Set(reader.inbox.messages.map((message) => message.topic))).toEqual(new Set([EVENT]));
  });
});

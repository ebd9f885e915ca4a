import { Store } from "mqtt";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { sessionKey } from "../../../broker/access/session-names.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { type BrokerUnderTest, closed, inboxOf, NORTH, SECRET, topic } from "../broker-under-test.ts";
import { idPacket, rawSession, subscribePacket, TYPE } from "../raw-client.ts";
import { type Nodes, nodes } from "../redis-nodes.ts";

const EVENT = topic("cameras/north/events/capture.completed");

/** The session key of the test user's client. */
const named = (clientId: string) => sessionKey("user:alice", clientId);

/** The session as it is stored. */
async function stored({ redis, prefix }: Nodes, key: string) {
  return JSON.parse((await redis.hget(`${prefix}mqtt-rows`, `session:${key}`)) ?? "{}");
}

const recordSchema = z.object({ open: z.array(z.tuple([z.number(), z.number(), z.number()])) });

/** What the session has sent and its client has not acknowledged: position, QoS, 1 after PUBREC. */
async function openOf(cluster: Nodes, key: string) {
  return recordSchema.parse(await stored(cluster, key)).open;
}

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.remove());

function archive(node: BrokerUnderTest) {
  return { username: "archive", password: node.token(["dashboard:read"]), clientId: "archive", clean: false };
}

/** Creates the session at the node, subscribed to all topics of cameras. */
async function leaveSession(node: BrokerUnderTest, qos: 1 | 2): Promise<void> {
  const client = await node.client(archive(node));
  await client.subscribeAsync(topic("cameras/#"), { qos });
  await client.endAsync();
}

describe("a persistent session", () => {
  it.each([1, 2] as const)(
    "gets at any node the messages that were published at any other node, in order, at QoS %i",
    async (qos) => {
      const cluster = await nodes({ on: server });
      const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
      await leaveSession(a, qos);
      const camera = await b.client(NORTH);
      const names = Array.from({ length: 50 }, (_, index) => String(index));
      await Promise.all(names.map((name) => camera.publishAsync(EVENT, name, { qos: 2 })));
      const atB = await b.join(archive(b));
      const received = await atB.inbox.has(50);
      expect(received.map(({ payload }) => payload)).toEqual(names);
      expect(new Set(received.map((message) => message.qos))).toEqual(new Set([qos]));
      await expect.poll(() => b.broker.stats().offlineMessages).toBe(0);
      await atB.client.endAsync();

      await camera.publishAsync(EVENT, "before the restart", { qos: 1 });
      await a.broker.stop();
      await camera.publishAsync(EVENT, "after it", { qos: 1 });
      const again = await cluster.start();
      const { inbox } = await again.join(archive(again));
      expect((await inbox.has(2)).map(({ payload }) => payload)).toEqual(["before the restart", "after it"]);
    },
  );

  it.each([1, 2] as const)("gets every message in order while it moves between nodes, at QoS %i", async (qos) => {
    const cluster = await nodes({ on: server });
    const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
    await leaveSession(a, qos);
    const camera = await a.client(NORTH);
    const count = 2000;
    // At QoS 2 the client's state of the handshake is part of the session.
    const incomingStore = new Store({ clean: false });
    const publishing = (async () => {
      for (let index = 0; index < count; index += 20) {
        const batch = Array.from({ length: 20 }, (_, offset) => String(index + offset));
        await Promise.all(batch.map((name) => camera.publishAsync(EVENT, name, { qos })));
      }
    })();
    const seen: number[] = [];
    let visits = 0;
    while (seen.at(-1) !== count - 1) {
      const node = visits++ % 2 === 0 ? b : a;
      const { client, inbox } = await node.join({ ...archive(node), incomingStore });
      const next = Math.min((seen.at(-1) ?? -1) + 150, count - 1);
      await expect
        .poll(() => Number(inbox.messages.at(-1)?.payload ?? -1), { interval: 2 })
        .toBeGreaterThanOrEqual(next);
      client.stream.destroy();
      await closed(client);
      // Unacknowledged messages are resent.
      for (const { payload } of inbox.messages) if (Number(payload) > (seen.at(-1) ?? -1)) seen.push(Number(payload));
    }
    await publishing;
    expect(seen).toEqual(Array.from({ length: count }, (_, index) => index));
    expect(visits).toBeGreaterThan(3);
  });

  it("gets more than a thousand queued messages over one connection, each once", async () => {
    const cluster = await nodes({ on: server });
    const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
    await leaveSession(a, 1);
    const camera = await b.client(NORTH);
    const names = Array.from({ length: 3000 }, (_, index) => String(index));
    await Promise.all(names.map((name) => camera.publishAsync(EVENT, name, { qos: 1 })));
    await expect.poll(() => b.broker.stats().offlineMessages).toBe(3000);
    const { inbox } = await a.join(archive(a));
    expect((await inbox.has(3000)).map(({ payload }) => payload)).toEqual(names);
    await expect.poll(() => a.broker.stats().offlineMessages).toBe(0);
    expect(inbox.messages).toHaveLength(3000);
  });

  it.each([1, 2] as const)(
    "gets an unacknowledged message again at another node, with the same id, at QoS %i",
    async (qos) => {
      const cluster = await nodes({ on: server });
      const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
      const session = { clientId: "raw", username: "raw", password: a.token(["dashboard:read"]), clean: false };
      const first = await rawSession(a.broker.ports.mqtt, session);
      first.send(subscribePacket([[topic("cameras/#"), qos]]));
      await first.next(TYPE.suback);
      const camera = await b.client(NORTH);
      await camera.publishAsync(EVENT, "one", { qos });
      const sent = await first.next(TYPE.publish);
      const id = sent.readUInt16BE(2 + EVENT.length);
      await expect.poll(() => openOf(cluster, named("raw"))).toEqual([[1, qos, 0]]);
      first.socket.destroy();
      const second = await rawSession(b.broker.ports.mqtt, session);
      expect(await second.next(TYPE.publish)).toEqual(sent);
      if (qos === 2) {
        second.send(idPacket(TYPE.pubrec, id));
        await second.next(TYPE.pubrel);
        second.socket.destroy();
        const third = await rawSession(a.broker.ports.mqtt, session);
        expect((await third.next(TYPE.pubrel)).readUInt16BE(0)).toBe(id);
        expect(third.packets).toEqual([]);
        third.send(idPacket(TYPE.pubcomp, id));
      } else second.send(idPacket(TYPE.puback, id));
      await expect.poll(() => openOf(cluster, named("raw"))).toEqual([]);
    },
  );

  it("gets nothing again that it had acknowledged when its node released it", async () => {
    const cluster = await nodes({ on: server });
    const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
    await leaveSession(a, 1);
    const camera = await b.client(NORTH);
    for (let round = 0; round < 20; round++) {
      const node = round % 2 === 0 ? a : b;
      const { client, inbox } = await node.join(archive(node));
      const names = Array.from({ length: 20 }, (_, index) => `${round}-${index}`);
      await Promise.all(names.map((name) => camera.publishAsync(EVENT, name, { qos: 1 })));
      expect((await inbox.has(20)).map(({ payload }) => payload)).toEqual(names);
      // The reply comes after the acknowledgements.
      await client.unsubscribeAsync("none");
      await client.endAsync();
      // Until the node has released the session, its newest acknowledgements may not be stored.
      const writer = () => cluster.redis.hget(`${cluster.prefix}mqtt-writers`, named("archive"));
      await expect.poll(writer, { interval: 5 }).toMatch(/ -$/);
    }
  });

  it("misses no message that is published to another node after its SUBACK", async () => {
    const cluster = await nodes({ on: server });
    const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
    const camera = await b.client(NORTH);
    for (let round = 0; round < 20; round++) {
      const clientId = `round-${round}`;
      const client = await a.client({ ...archive(a), clientId });
      await client.subscribeAsync(topic("cameras/#"), { qos: 1 });
      client.stream.destroy();
      await camera.publishAsync(EVENT, String(round), { qos: 1 });
    }
    for (let round = 0; round < 20; round++) {
      const { client, inbox } = await b.join({ ...archive(b), clientId: `round-${round}` });
      const expected = Array.from({ length: 20 - round }, (_, index) => String(round + index));
      expect((await inbox.has(20 - round)).map(({ payload }) => payload)).toEqual(expected);
      await client.endAsync();
    }
  });

  it("gets a message that is published during its SUBSCRIBE either in order or not at all", async () => {
    const cluster = await nodes({ on: server });
    const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
    const camera = await b.client(NORTH);
    let published = 0;
    let stopping = false;
    const publishing = (async () => {
      while (!stopping) {
        const names = Array.from({ length: 10 }, () => String(published++));
        await Promise.all(names.map((name) => camera.publishAsync(EVENT, name, { qos: 1 })));
      }
    })();
    const inboxes = [];
    for (let round = 0; round < 10; round++) {
      const { client, inbox } = await a.join({ ...archive(a), clientId: `round-${round}` });
      await client.subscribeAsync([topic("cameras/#"), EVENT, topic("cameras/north/events/+")], { qos: 1 });
      inboxes.push(inbox);
    }
    stopping = true;
    await publishing;
    for (const [round, inbox] of inboxes.entries()) {
      await expect.poll(() => inbox.messages.at(-1)?.payload).toBe(String(published - 1));
      const first = Number(inbox.messages[0]?.payload);
      const expected = Array.from({ length: published - first }, (_, index) => String(first + index));
      expect(inbox.messages.map(({ payload }) => payload)).toEqual(expected);
      await expect.poll(() => openOf(cluster, named(`round-${round}`))).toEqual([]);
    }
  });

  it("belongs to its owner at every node, even if another identity uses the owner's client id", async () => {
    const cluster = await nodes({ on: server });
    const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
    await leaveSession(a, 1);
    const camera = await b.client({ ...NORTH, clientId: "archive", clean: false });
    await camera.publishAsync(EVENT, "kept", { qos: 1 });
    await camera.endAsync();
    await (await b.client({ ...NORTH, clientId: "archive" })).endAsync();
    const { inbox } = await b.join(archive(b));
    expect((await inbox.has(1)).map(({ payload }) => payload)).toEqual(["kept"]);
  });

  it("of another identity with a camera's client id is discarded when the camera connects", async () => {
    const cluster = await nodes({ on: server });
    // Writes the session as a version stored it that let any identity use this client id.
    const owner = { v: 1, identity: "user:mallory", permissions: ["camera:read"], seenAt: Date.now(), epoch: "?" };
    const row = JSON.stringify({ ...owner, sent: 0, open: [], filters: [[topic("cameras/#"), 1, 0]] });
    await cluster.redis.hset(`${cluster.prefix}mqtt-rows`, "session:camera-north", row);
    await cluster.redis.hset(`${cluster.prefix}mqtt-writers`, "camera-north", "1 -");
    await cluster.redis.hset(`${cluster.prefix}meta`, { epoch: "e", head: "0", stamp: "-" });
    const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
    const camera = await a.client({ ...NORTH, clientId: "camera-north", clean: false });
    await camera.subscribeAsync(topic("cameras/north/commands/+"), { qos: 1 });
    await camera.publishAsync(EVENT, "not for mallory", { qos: 1 });
    expect((await stored(cluster, "camera-north")).identity).toBe("device:north");
    await expect.poll(() => [a, b].map(({ broker }) => broker.stats().sessions)).toEqual([1, 1]);
    expect(await openOf(cluster, "camera-north")).toEqual([]);
  });

  it("is discarded at all nodes when the owner's token is revoked, unless the owner has reconnected", async () => {
    const cluster = await nodes({ on: server });
    const revoked = new Set<string>();
    const isRevoked = ({ tokenId = "" }: { tokenId?: string | undefined }) => revoked.has(tokenId);
    const [a, b] = await Promise.all([cluster.start({}, { isRevoked }), cluster.start({}, { isRevoked })]);
    const comeTo = async (node: BrokerUnderTest, tokenId: string) => {
      const password = node.token(["camera:read"], 60_000, { tokenId });
      await (await node.client({ ...archive(node), password })).endAsync();
    };
    await comeTo(a, "t1");
    revoked.add("t1");
    // The owner reconnects with another token before the other node discards sessions, so this session must stay.
    expect(await a.broker.discardEnded()).toBe(1);
    await comeTo(a, "t2");
    expect(await b.broker.discardEnded()).toBe(0);
    for (const node of [a, b]) await expect.poll(() => node.broker.stats().sessions).toBe(1);
  });

  it("stores no refused filter and queues nothing for a filter of QoS 0", async () => {
    const cluster = await nodes({ on: server });
    const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
    const password = a.token(["alerts:read"]);
    const session = { clientId: "raw", username: "raw", password, clean: false };
    const raw = await rawSession(a.broker.ports.mqtt, session);
    raw.send(
      subscribePacket([
        [topic("cameras/+/alerts/#"), 1],
        [topic("cameras/north/#"), 1],
        [topic("cameras/south/alerts/#"), 0],
      ]),
    );
    expect([...(await raw.next(TYPE.suback)).subarray(2)]).toEqual([1, 128, 0]);
    raw.socket.destroy();
    const camera = await b.client(NORTH);
    await camera.publishAsync(topic("cameras/north/about"), "secret", { qos: 1 });
    await camera.publishAsync(topic("cameras/north/alerts/cold"), "cold", { qos: 1 });
    const { inbox } = await b.join({ ...session, password: b.token(["alerts:read"]) });
    await inbox.has(1);
    await camera.publishAsync(topic("cameras/north/alerts/hot"), "hot", { qos: 1 });
    expect((await inbox.has(2)).map(({ payload }) => payload)).toEqual(["cold", "hot"]);
    expect((await stored(cluster, named("raw"))).filters).toEqual([
      [topic("cameras/+/alerts/#"), 1, 0],
      [topic("cameras/south/alerts/#"), 0, 0],
    ]);
  });
});

describe("the queue of a disconnected session", () => {
  it.each([
    ["MAX_OFFLINE_MESSAGES", { MAX_OFFLINE_MESSAGES: "10", MAX_OFFLINE_BYTES: "0" }, 10],
    ["MAX_OFFLINE_BYTES", { MAX_OFFLINE_BYTES: "110000" }, 10],
  ])("drops its oldest messages above %s, at whichever node, and logs the loss once", async (_, env, kept) => {
    const cluster = await nodes({ on: server });
    const [a, b] = await Promise.all([cluster.start(env), cluster.start(env)]);
    await leaveSession(a, 1);
    const cameras = [await a.client(NORTH), await b.client({ ...NORTH, username: "south" })];
    for (let index = 0; index < 25; index++) {
      const [name, camera] = index % 2 === 0 ? ["north", cameras[0]] : ["south", cameras[1]];
      await camera?.publishAsync(topic(`cameras/${name}/events/x`), `${index} ${"x".repeat(10_000)}`, { qos: 1 });
    }
    const dropped = () => [a, b].map(({ broker }) => broker.stats().droppedOfflineMessages).sort();
    await expect.poll(dropped).toEqual([0, 25 - kept]);
    // Both nodes move the session forward, and one of them tells.
    for (const { broker } of [a, b]) await expect.poll(() => broker.stats().offlineMessages).toBe(kept);
    const lines = [...a.log, ...b.log].filter(({ msg }) => msg.includes("session queue full"));
    expect(lines).toMatchObject([{ clientId: "archive" }]);
    const { inbox } = await b.join(archive(b));
    const received = await inbox.has(kept);
    const expected = Array.from({ length: kept }, (_, index) => 25 - kept + index);
    expect(received.map(({ payload }) => Number.parseInt(payload, 10))).toEqual(expected);
    await expect.poll(() => b.broker.stats()).toMatchObject({ offlineMessages: 0, offlineBytes: 0 });
  });

  it("is cut to lower limits at a restart", async () => {
    const cluster = await nodes({ on: server });
    const before = await cluster.start();
    await leaveSession(before, 1);
    const camera = await before.client(NORTH);
    for (let index = 0; index < 20; index++) await camera.publishAsync(EVENT, String(index), { qos: 1 });
    await expect.poll(() => before.broker.stats().offlineMessages).toBe(20);
    await before.broker.stop();
    const after = await cluster.start({ MAX_OFFLINE_MESSAGES: "5" });
    await expect.poll(() => after.broker.stats().offlineMessages).toBe(5);
  });
});

describe("the data in Redis", () => {
  it("has the prefix in all keys and is deleted with the sessions", async () => {
    const cluster = await nodes({ on: server });
    const a = await cluster.start();
    const empty = await cluster.keys();
    await leaveSession(a, 2);
    const camera = await a.client({ ...NORTH, clientId: "north", clean: false });
    for (let index = 0; index < 10; index++) await camera.publishAsync(EVENT, String(index), { qos: 2 });
    await expect.poll(() => a.broker.stats().offlineMessages).toBe(10);
    expect((await cluster.keys()).length).toBeGreaterThan(empty.length);
    for (const options of [archive(a), { ...NORTH, clientId: "north" }]) {
      const client = await a.client({ ...options, clean: true });
      await client.endAsync();
    }
    const rows = async () =>
      (await cluster.keys())
        .map((key) => key.slice(cluster.prefix.length))
        .filter((key) => /^(mqtt-|incoming)/.test(key));
    // What is left has one entry for each living node, or is bounded.
    await expect.poll(rows).toEqual(["mqtt-changes", "mqtt-masters", "mqtt-taken"]);
  });

  it("of an unused session is discarded after MQTT_SESSION_HOURS, unlike the data of a session in use", async () => {
    const cluster = await nodes({ on: server });
    const [a, b] = await Promise.all([
      cluster.start({ MQTT_SESSION_HOURS: "2" }),
      cluster.start({ MQTT_SESSION_HOURS: "2" }),
    ]);
    await leaveSession(a, 1);
    const used = await b.client({ ...NORTH, clientId: "used", clean: false });
    const camera = await b.client(NORTH);
    await camera.publishAsync(EVENT, "x", { qos: 1 });
    await expect.poll(() => b.broker.stats().offlineMessages).toBe(1);
    const row = await stored(cluster, named("archive"));
    const unused = JSON.stringify({ ...row, seenAt: row.seenAt - 7_200_001 });
    await cluster.redis.hset(`${cluster.prefix}mqtt-rows`, `session:${named("archive")}`, unused);
    const later = await cluster.start({ MQTT_SESSION_HOURS: "2" });
    await later.logged("expired sessions discarded");
    await expect.poll(() => a.broker.stats()).toMatchObject({ sessions: 1 });
    await expect.poll(() => later.broker.stats()).toMatchObject({ sessions: 1, offlineMessages: 0 });
    expect(used.connected).toBe(true);
  });

  it("contains at most MAX_MQTT_SESSIONS sessions of all nodes together", async () => {
    const cluster = await nodes({ on: server });
    const env = { MAX_MQTT_SESSIONS: "1" };
    const [a, b] = await Promise.all([cluster.start(env), cluster.start(env)]);
    await a.client({ ...NORTH, clientId: "one", clean: false });
    await expect(b.client({ ...NORTH, clientId: "two", clean: false })).rejects.toMatchObject({ code: 3 });
    await b.client({ ...NORTH, clientId: "one", clean: false });
  });
});

describe("a client that connects to another node", () => {
  it("ends its older connection, is reported as a take-over, and cancels its old will", async () => {
    const cluster = await nodes({ on: server });
    const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
    const takenOver: string[] = [];
    for (const { broker } of [a, b]) broker.onTakeOver(({ clientId }) => takenOver.push(clientId));
    const will = (payload: string) => ({
      topic: topic("cameras/north/link"),
      payload: Buffer.from(payload),
      qos: 1 as const,
      retain: true,
    });
    const watcher = await b.client({ username: "v", password: b.token(["dashboard:read"]) });
    const inbox = inboxOf(watcher);
    await watcher.subscribeAsync(topic("cameras/north/link"), { qos: 1 });
    const first = await a.client({ ...NORTH, clientId: "north", will: will("first") });
    const second = await b.client({ ...NORTH, clientId: "north", will: will("second") });
    await closed(first);
    await expect.poll(() => a.ingest.accepted.map(({ payload }) => payload.toString())).toEqual(["first"]);
    expect(takenOver).toEqual(["north"]);
    expect(second.connected).toBe(true);
    // The will of the remaining connection is still stored.
    const payload = async () => {
      const key = `will:${sessionKey("device:north", "north")}`;
      const row = JSON.parse((await cluster.redis.hget(`${cluster.prefix}mqtt-rows`, key)) ?? "null");
      return row === null ? undefined : Buffer.from(row.payload, "base64").toString();
    };
    await expect.poll(payload).toBe("second");
    const third = await b.client({ ...NORTH, clientId: "north", will: will("third") });
    await closed(second);
    await expect.poll(() => b.ingest.accepted.length).toBe(1);
    await expect.poll(payload).toBe("third");
    await third.endAsync();
    await expect.poll(payload).toBe(undefined);
    expect(b.ingest.accepted.map(({ payload }) => payload.toString())).toEqual(["second"]);
    // The store has refused the will of the other node's connection: it could follow the birth at this node.
    expect((await inbox.has(1)).map(({ payload }) => payload)).toEqual(["second"]);
  });

  it("leaves exactly one of two simultaneous connections open", async () => {
    const cluster = await nodes({ on: server });
    const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
    for (let round = 0; round < 10; round++) {
      const options = { ...NORTH, clientId: `north-${round}` };
      const pair = await Promise.allSettled([a, b].map((node) => node.client(options)));
      // A client whose place is taken before its CONNACK is refused.
      const clients = pair.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
      if (clients.length === 2) await Promise.race(clients.map(closed));
      expect(clients.filter((client) => client.connected)).toHaveLength(1);
      await expect
        .poll(() => [a, b].map(({ broker }) => broker.clients().length).reduce((sum, clients) => sum + clients, 0))
        .toBe(round + 1);
    }
  });

  it("does not disconnect another identity, and no client can fake such a connection with a message", async () => {
    const cluster = await nodes({ on: server });
    const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
    const north = await a.client({ ...NORTH, clientId: "north" });
    const south = await b.client({ username: "south", password: SECRET, clientId: "north" });
    for (const [index, name] of ["other", "b0000000000000000"].entries()) {
      const forger = await b.client({ username: "forger", password: b.token(["admin"]) });
      forger.publish(`$SYS/${name}/new/clients`, "north", { qos: 1 });
      await expect.poll(() => b.broker.stats().refusedPublishes).toBe(index + 1);
    }
    // A later message has reached the node, so the earlier messages have reached the node, too.
    const inbox = inboxOf(north);
    await north.subscribeAsync(topic("cameras/north/commands/+"), { qos: 1 });
    await b.broker.publish({
      topic: topic("cameras/north/commands/x"),
      payload: Buffer.from("x"),
      qos: 1,
      retain: false,
    });
    await inbox.has(1);
    await expect.poll(() => a.broker.clients().length).toBe(1);
    expect([north.connected, south.connected]).toEqual([true, true]);
  });
});

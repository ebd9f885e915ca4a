import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { inboxOf, NORTH, topic } from "../broker-under-test.ts";
import { nodes } from "../redis-nodes.ts";

const EVENT = topic("cameras/north/events/capture.completed");

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.remove());

describe("a publication to one node", () => {
  it.each([0, 1, 2] as const)("of QoS %i reaches subscribers at each node, once and in order", async (qos) => {
    const cluster = await nodes({ on: server });
    const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
    const inboxes = [];
    for (const node of [a, b]) {
      for (const granted of [0, 1, 2] as const) {
        for (const clean of [true, false]) {
          const clientId = `viewer-${node === a ? "a" : "b"}-${granted}-${clean}`;
          const options = { clientId, clean, username: "v", password: node.token(["dashboard:read"]) };
          const { client, inbox } = await node.join(options);
          await client.subscribeAsync([EVENT, topic("cameras/+/events/#")], { qos: granted });
          inboxes.push({ inbox, granted });
        }
      }
    }
    const camera = await a.client(NORTH);
    const names = Array.from({ length: 100 }, (_, index) => String(index));
    await Promise.all(names.map((name) => camera.publishAsync(EVENT, name, { qos })));
    for (const { inbox, granted } of inboxes) {
      const received = await inbox.has(100);
      expect(received.map(({ payload }) => payload)).toEqual(names);
      expect(new Set(received.map((message) => message.qos))).toEqual(new Set([Math.min(qos, granted)]));
    }
    await expect.poll(async () => Number(await cluster.redis.hget(`${cluster.prefix}totals`, "messages"))).toBe(0);
    expect(inboxes.map(({ inbox }) => inbox.messages.length)).toEqual(inboxes.map(() => 100));
  });

  it.each(["constructor", "__proto__", "a[b]c", "x?y", "star*", "back\\slash"])(
    "reaches only the subscribers of its topic if a level of the topic is %s",
    async (level) => {
      const cluster = await nodes({ on: server });
      const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
      const admin = (node: typeof a) => ({ username: "admin", password: node.token(["admin"]) });
      const reader = await b.client(admin(b));
      const inbox = inboxOf(reader);
      await reader.subscribeAsync([`house/${level}/light`, `${level}/#`], { qos: 1 });
      const writer = await a.client(admin(a));
      for (const qos of [0, 1] as const) {
        await writer.publishAsync("house/other/light", "other", { qos });
        await writer.publishAsync(`house/${level}/light`, `exact ${qos}`, { qos });
        await writer.publishAsync(`${level}/b`, `wildcard ${qos}`, { qos });
      }
      const received = await inbox.has(4);
      expect(received.map(({ payload }) => payload).sort()).toEqual(["exact 0", "exact 1", "wildcard 0", "wildcard 1"]);
    },
  );

  it("by the backend reaches the camera at another node, which reports the delivery", async () => {
    const cluster = await nodes({ on: server });
    const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
    const command = topic("cameras/north/commands/capture.now");
    for (const clean of [true, false]) {
      const camera = await b.client({ ...NORTH, clientId: `north-${clean}`, clean });
      const inbox = inboxOf(camera);
      await camera.subscribeAsync(topic("cameras/north/commands/+"), { qos: 1 });
      const delivered = new Promise((resolve) => b.broker.onDelivered(resolve));
      await a.broker.publish({ topic: command, payload: Buffer.from("now"), qos: 1, retain: false });
      expect(await inbox.has(1)).toMatchObject([{ topic: command, payload: "now", qos: 1 }]);
      expect(await delivered).toMatchObject({ identity: "device:north", topic: command, payload: Buffer.from("now") });
      await camera.endAsync();
    }
  });

  it("arrives in the same order at all nodes, whichever nodes the publishers use", async () => {
    const cluster = await nodes({ on: server });
    const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
    const read = async (node: typeof a) => {
      const client = await node.client({ username: "v", password: node.token(["dashboard:read"]) });
      const inbox = inboxOf(client);
      await client.subscribeAsync(topic("cameras/#"), { qos: 1 });
      return inbox;
    };
    const inboxes = [await read(a), await read(b)];
    const north = await a.client(NORTH);
    const south = await b.client({ ...NORTH, username: "south" });
    await Promise.all(
      Array.from({ length: 300 }, (_, index) => [
        north.publishAsync(EVENT, `north ${index}`, { qos: 1, retain: index % 3 === 0 }),
        south.publishAsync(topic("cameras/south/events/x"), `south ${index}`, { qos: 1 }),
      ]).flat(),
    );
    const [atA, atB] = await Promise.all(inboxes.map((inbox) => inbox.has(600)));
    expect(atB).toEqual(atA);
    for (const name of ["north", "south"]) {
      const own = atA?.map(({ payload }) => payload).filter((payload) => payload.startsWith(name));
      expect(own).toEqual(Array.from({ length: 300 }, (_, index) => `${name} ${index}`));
    }
  });
});

describe("retained messages", () => {
  it("are shared by all nodes: replaced, cleared, found by exact and wildcard filters", async () => {
    const cluster = await nodes({ on: server });
    const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
    const camera = await a.client(NORTH);
    const retain = { qos: 1, retain: true } as const;
    for (const value of ["old", "new"]) await camera.publishAsync(topic("cameras/north/state/power"), value, retain);
    for (const value of ["cold", ""]) await camera.publishAsync(topic("cameras/north/alerts/cold"), value, retain);
    await camera.publishAsync(topic("cameras/north/link"), "online", { qos: 0, retain: true });
    await expect.poll(() => [a, b].map(({ broker }) => broker.stats().retainedMessages)).toEqual([2, 2]);
    const later = await cluster.start();
    expect(later.broker.stats().retainedMessages).toBe(2);
    for (const node of [a, b, later]) {
      const viewer = await node.client({ username: "v", password: node.token(["dashboard:read"]) });
      const inbox = inboxOf(viewer);
      await viewer.subscribeAsync(topic("cameras/north/state/power"), { qos: 1 });
      expect(await inbox.has(1)).toMatchObject([{ payload: "new", retain: true }]);
      await viewer.subscribeAsync(topic("cameras/+/alerts/#"), { qos: 1 });
      await viewer.subscribeAsync(topic("#"), { qos: 1 });
      expect((await inbox.has(3)).map(({ payload }) => payload).sort()).toEqual(["new", "new", "online"]);
    }
  });

  it("are read individually: for a subscription to one topic, a node reads only one message from Redis", async () => {
    const cluster = await nodes({ on: server });
    const a = await cluster.start();
    const camera = await a.client(NORTH);
    const names = Array.from({ length: 500 }, (_, index) => `s${index}`);
    await Promise.all(
      names.map((name) => camera.publishAsync(topic(`cameras/north/state/${name}`), name, { qos: 1, retain: true })),
    );
    await expect.poll(() => a.broker.stats().retainedMessages).toBe(500);
    const viewer = await a.client({ username: "v", password: a.token(["dashboard:read"]) });
    const inbox = inboxOf(viewer);
    // All commands from now on. ioredis can fail when it begins to MONITOR a busy server.
    await cluster.redis.config("SET", "slowlog-max-len", "100000");
    await cluster.redis.config("SET", "slowlog-log-slower-than", "0");
    await viewer.subscribeAsync(topic("cameras/north/state/s7"), { qos: 1 });
    expect(await inbox.has(1)).toMatchObject([{ payload: "s7" }]);
    const commands = (await cluster.redis.slowlog("GET", -1)) as [
      id: number,
      at: number,
      us: number,
      words: string[],
    ][];
    await cluster.redis.config("SET", "slowlog-log-slower-than", "-1");
    const asked = commands.map(([, , , words]) => words).filter((words) => words.includes(`${cluster.prefix}retained`));
    expect(asked).toEqual([["hmget", `${cluster.prefix}retained`, topic("cameras/north/state/s7")]]);
    await viewer.subscribeAsync(topic("cameras/+/state/+"), { qos: 0 });
    expect(new Set((await inbox.has(501)).map(({ payload }) => payload))).toEqual(new Set(names));
  });
});

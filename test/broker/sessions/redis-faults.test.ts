import { connect } from "mqtt";
import pino from "pino";
import { describe, expect, it, onTestFinished } from "vitest";
import { sessionKey } from "../../../broker/access/session-names.ts";
import { openRedis } from "../../../platform/redis/connections.ts";
import { TIMEOUT_MS } from "../../support/long-form.ts";
import { startRunningClock } from "../../support/running-clock.ts";
import {
  type BrokerUnderTest,
  closed,
  connected,
  type Inbox,
  NORTH,
  startTestBroker,
  topic,
} from "../broker-under-test.ts";
import { nodes } from "../redis-nodes.ts";

const EVENT = topic("cameras/north/events/capture.completed");

/** A node that is killed counts as dead soon. */
const waits = { heartbeatMs: 100, deadAfterMs: 1_500 };

/** Allows {@link publishSteadily} to reconnect every few milliseconds while the node refuses it. */
const IMPATIENT = { MAX_MQTT_USER_CONNECTS_PER_MINUTE: "0" };

/** Publishes in order until it is stopped. Resends unacknowledged messages, as a camera does. */
function publishSteadily(node: BrokerUnderTest): { acknowledged: () => number; stop(): Promise<string[]> } {
  const names: string[] = [];
  let stopping = false;
  const running = (async () => {
    let client = await node.client(NORTH);
    let cut = closed(client);
    while (!stopping) {
      const name = String(names.length);
      // The rate is bounded, because without a journal publications are acknowledged immediately.
      await new Promise((resolve) => setTimeout(resolve, 2));
      try {
        if (!client.connected) {
          client = await node.client(NORTH);
          cut = closed(client);
        }
        const outcome = await Promise.race([client.publishAsync(EVENT, name, { qos: 1 }), cut]);
        if (outcome !== undefined) names.push(name);
      } catch {
        // The client was refused or disconnected, so it resends the same message.
      }
    }
    client.end(true);
  })();
  return {
    acknowledged: () => names.length,
    stop: async () => {
      stopping = true;
      await running;
      return names;
    },
  };
}

/** The messages in order of their first arrival, without the duplicates that QoS 1 permits. */
function distinct(inbox: Inbox): string[] {
  return [...new Set(inbox.messages.map(({ payload }) => payload))];
}

function viewer(node: BrokerUnderTest, clientId: string) {
  return { clientId, clean: false, username: "v", password: node.token(["dashboard:read"]) };
}

/** Connects again, as a client does, until the node has reached Redis again after a fault and refuses it no longer. */
async function joinAfterFault(node: BrokerUnderTest, options: Parameters<BrokerUnderTest["join"]>[0]) {
  for (;;) {
    try {
      return await node.join(options);
    } catch (error) {
      expect(String(error)).toMatch(/Connection refused: Server unavailable|closed before it was connected/);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

describe("connections to Redis that break repeatedly", () => {
  it("lose no message and keep the order", { timeout: TIMEOUT_MS }, async () => {
    const cluster = await nodes();
    const [a, b] = await Promise.all([cluster.start(IMPATIENT), cluster.start(IMPATIENT)]);
    const away = await b.client(viewer(b, "away"));
    await away.subscribeAsync(EVENT, { qos: 1 });
    await away.endAsync();
    const inboxes: Inbox[] = [];
    for (const node of [a, b]) {
      for (const clean of [true, false]) {
        const { client, inbox } = await node.join({ ...viewer(node, `${inboxes.length}`), clean });
        await client.subscribeAsync(EVENT, { qos: 1 });
        inboxes.push(inbox);
      }
    }
    const publishing = publishSteadily(a);
    for (let round = 1; round <= 10; round++) {
      await expect.poll(publishing.acknowledged).toBeGreaterThan(round * 20);
      await cluster.redis.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
      await cluster.redis.call("CLIENT", "KILL", "TYPE", "pubsub");
    }
    const names = await publishing.stop();
    inboxes.push((await joinAfterFault(b, viewer(b, "away"))).inbox);
    for (const inbox of inboxes) {
      await expect.poll(() => distinct(inbox).length).toBe(names.length);
      expect(distinct(inbox)).toEqual(names);
    }
    const errors = a.log.concat(b.log).filter(({ level }) => Number(level) >= 50);
    const refused = "publications cannot be made durable: not acknowledged, senders disconnected";
    expect(errors.filter(({ msg }) => msg !== refused)).toEqual([]);
  });
});

describe("a Redis that hangs", () => {
  it("delays acknowledgements and CONNACKs without disconnecting clients, until it answers again", async () => {
    const cluster = await nodes();
    const [a, b] = await Promise.all([cluster.start(IMPATIENT), cluster.start(IMPATIENT)]);
    const clean = await b.join({ ...viewer(b, "clean"), clean: true });
    const stored = await b.join(viewer(b, "stored"));
    for (const { client } of [clean, stored]) await client.subscribeAsync(topic("cameras/#"), { qos: 1 });
    const publishing = publishSteadily(a);
    await expect.poll(publishing.acknowledged).toBeGreaterThan(20);
    cluster.server.process.kill("SIGSTOP");
    await expect.poll(() => a.broker.stats().notAccepted).toBeGreaterThan(0);
    const acknowledged = publishing.acknowledged();
    expect(await a.logged("publications cannot be made durable")).toMatchObject({
      err: { message: expect.stringMatching(/Redis does not answer/) },
    });
    const refused = b.client({ ...NORTH, clientId: "late", clean: false });
    await expect(refused).rejects.toMatchObject({ code: 3 });
    expect(publishing.acknowledged()).toBe(acknowledged);
    expect([clean, stored].map(({ client }) => client.connected)).toEqual([true, true]);

    cluster.server.process.kill("SIGCONT");
    await expect.poll(publishing.acknowledged).toBeGreaterThan(acknowledged + 20);
    const names = await publishing.stop();
    for (const { inbox } of [clean, stored]) {
      await expect.poll(() => distinct(inbox).length).toBe(names.length);
      expect(distinct(inbox)).toEqual(names);
    }
    await expect.poll(() => b.broker.stats().offlineMessages).toBe(0);
    await (await joinAfterFault(b, { ...NORTH, clientId: "late", clean: false })).client.endAsync();
  });
});

describe("a broker whose Redis hangs", () => {
  it("stops quickly", async () => {
    const cluster = await nodes();
    const a = await cluster.start();
    const { client } = await a.join(viewer(a, "stored"));
    await client.subscribeAsync(topic("cameras/#"), { qos: 1 });
    cluster.server.process.kill("SIGSTOP");
    void a.broker.publish({ topic: EVENT, payload: Buffer.from("x"), qos: 1, retain: false }).catch(() => undefined);
    const elapsedMs = startRunningClock();
    await a.broker.stop();
    expect(elapsedMs()).toBeLessThan(10_000);
    cluster.server.process.kill("SIGCONT");
  });
});

describe("a Redis that stops", () => {
  it("and restarts with its data loses no acknowledged message", async () => {
    const cluster = await nodes();
    const [a, b] = await Promise.all([cluster.start(IMPATIENT), cluster.start()]);
    const live = await b.join(viewer(b, "live"));
    await live.client.subscribeAsync(EVENT, { qos: 1 });
    const away = await b.client(viewer(b, "away"));
    await away.subscribeAsync(EVENT, { qos: 1 });
    await away.endAsync();
    const publishing = publishSteadily(a);
    await expect.poll(publishing.acknowledged).toBeGreaterThan(50);
    await cluster.server.stop("SIGKILL");
    await expect.poll(() => a.broker.stats().notAccepted).toBeGreaterThan(0);
    expect(live.client.connected).toBe(true);
    await cluster.server.start();
    const before = publishing.acknowledged();
    await expect.poll(publishing.acknowledged).toBeGreaterThan(before + 50);
    const names = await publishing.stop();
    await expect.poll(() => distinct(live.inbox).length).toBe(names.length);
    expect(distinct(live.inbox)).toEqual(names);
    const back = await a.join(viewer(a, "away"));
    await back.inbox.has(names.length);
    expect(distinct(back.inbox)).toEqual(names);
  });

  it("and restarts empty makes the broker disconnect its clients, so that they subscribe again", async () => {
    const cluster = await nodes();
    const [a, b] = await Promise.all([cluster.start(IMPATIENT), cluster.start(IMPATIENT)]);
    const clean = await b.join({ ...viewer(b, "clean"), clean: true });
    const stored = await b.join(viewer(b, "stored"));
    for (const { client } of [clean, stored]) await client.subscribeAsync(topic("cameras/#"), { qos: 1 });
    const camera = await a.client(NORTH);
    await camera.publishAsync(topic("cameras/north/about"), "x", { qos: 1, retain: true });
    await stored.inbox.has(1);
    await cluster.server.stop("SIGKILL");
    // They may be closed before the start returns.
    const disconnected = Promise.all([clean.client, stored.client, camera].map(closed));
    await cluster.server.startEmpty();
    await disconnected;
    await expect.poll(() => b.broker.stats()).toMatchObject({ sessions: 0, retainedMessages: 0, offlineMessages: 0 });
    const back = await joinAfterFault(b, viewer(b, "stored"));
    await back.client.subscribeAsync(topic("cameras/#"), { qos: 1 });
    const { client: again } = await joinAfterFault(a, NORTH);
    await again.publishAsync(EVENT, "after", { qos: 1 });
    expect(await back.inbox.has(1)).toMatchObject([{ payload: "after" }]);
  });

  it("before the broker starts is reported with the remedy", async () => {
    const redis = openRedis({ url: "redis://127.0.0.1:1", prefix: "x", logger: pino({ level: "silent" }) });
    onTestFinished(() => redis.close());
    const waits = { openTimeoutMs: 500 };
    await expect(startTestBroker({ redis, waits })).rejects.toThrow(/Redis cannot be reached: start it/);
  });
});

describe("a node that is killed", () => {
  it("loses no message that it had acknowledged", async () => {
    const cluster = await nodes();
    const [a, b] = await Promise.all([cluster.startProcess(), cluster.start()]);
    const live = await b.join(viewer(b, "live"));
    await live.client.subscribeAsync(topic("cameras/#"), { qos: 1 });
    const away = await b.client(viewer(b, "away"));
    await away.subscribeAsync(topic("cameras/#"), { qos: 1 });
    await away.endAsync();
    const camera = await connected(connect(a.url, { reconnectPeriod: 0, ...NORTH }));
    let next = 0;
    let acknowledged = 0;
    let isOver = false;
    // An endless stream of many simultaneous publications, so that the kill always interrupts some of them.
    for (let lane = 0; lane < 500; lane++) {
      void (async () => {
        while (!isOver) {
          await camera.publishAsync(EVENT, String(next++), { qos: 1 }).then(
            () => void acknowledged++,
            () => undefined,
          );
        }
      })();
    }
    await expect.poll(() => acknowledged).toBeGreaterThan(200);
    await a.kill();
    isOver = true;
    camera.end(true);
    const count = acknowledged;
    const back = await b.join(viewer(b, "away"));
    for (const { inbox } of [live, back]) {
      const received = await inbox.has(count);
      expect(received.map(({ payload }) => payload)).toEqual(received.map((_, index) => String(index)));
    }
  });

  it("leaves wills: another node publishes each will once, unless the client of the will has reconnected", async () => {
    const cluster = await nodes();
    const env = { MQTT_HEARTBEAT_MS: "150" };
    const dead = await cluster.startProcess(env, waits);
    const [a, b] = await Promise.all([cluster.start(env, { waits }), cluster.start(env, { waits })]);
    const will = (payload: string) => ({
      topic: topic("cameras/north/link"),
      payload: Buffer.from(payload),
      qos: 1 as const,
      retain: true,
    });
    for (const clientId of ["gone", "returns", "returns without"])
      await connected(connect(dead.url, { reconnectPeriod: 0, ...NORTH, clientId, will: will(clientId) }));
    await a.client({ ...NORTH, clientId: "stays", will: will("stays") });
    await dead.kill();
    await b.client({ ...NORTH, clientId: "returns", will: will("returned") });
    await b.client({ ...NORTH, clientId: "returns without" });
    const published = () => [...a.ingest.accepted, ...b.ingest.accepted].map(({ payload }) => payload.toString());
    await expect.poll(published).toEqual(["gone"]);
    await expect
      .poll(async () => (await cluster.redis.hkeys(`${cluster.prefix}mqtt-rows`)).sort())
      .toEqual(["returns", "stays"].map((clientId) => `will:${sessionKey("device:north", clientId)}`));
    // Both nodes still have their client, and no node has published another will.
    const sweeps = (node: BrokerUnderTest) => node.broker.stats();
    expect([sweeps(a), sweeps(b)].map(({ clients }) => clients)).toEqual([1, 2]);
    expect(published()).toEqual(["gone"]);
  });

  it("is distinguished from a node without Redis, whose wills are not published", async () => {
    const cluster = await nodes();
    const env = { MQTT_HEARTBEAT_MS: "100" };
    const [a, b] = await Promise.all([cluster.start(env, { waits }), cluster.start(env, { waits })]);
    const will = { topic: topic("cameras/north/link"), payload: Buffer.from("x"), qos: 1 as const, retain: true };
    const camera = await b.client({ ...NORTH, clientId: "north", will });
    await cluster.server.stop("SIGKILL");
    await a.logged("the log of the journal cannot be read");
    // Redis is away for longer than a node may be without a heartbeat.
    await new Promise((resolve) => setTimeout(resolve, waits.deadAfterMs));
    await cluster.server.start();
    await a.logged("the log of the journal is read again");
    await b.logged("the log of the journal is read again");
    // With each heartbeat, a node looks for nodes that have ended.
    const looks = async () =>
      Number((await cluster.redis.info("commandstats")).match(/cmdstat_hkeys:calls=(\d+)/)?.[1]);
    const before = (await looks()) || 0;
    await expect.poll(looks).toBeGreaterThan(before + 20);
    expect([...a.ingest.accepted, ...b.ingest.accepted]).toEqual([]);
    expect(camera.connected).toBe(true);
  });
});

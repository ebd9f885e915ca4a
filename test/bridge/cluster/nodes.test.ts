import { setTimeout as pause } from "node:timers/promises";
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { Cluster, Json } from "../../../bridge/cluster/cluster.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { startRunningClock } from "../../support/running-clock.ts";
import { type ClusterProcess, startClusterProcess } from "./cluster-process.ts";
import { type RedisPlace, redisPlace } from "./redis-place.ts";

/** Ten times faster than the defaults. */
const FAST = { heartbeatMs: 300, deadAfterMs: 3_000, leaseMs: 1_000 };
/** Leases of this length are renewed in time even on a machine that suspends a program for a second. */
const LEASE_MS = 2_500;

let redis: RedisServer;
let place: RedisPlace;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.remove());
beforeEach(() => {
  place = redisPlace(redis);
});
afterEach(() => place.dispose());

const ids = (nodes: readonly { id: string }[]) => new Set(nodes.map(({ id }) => id));

describe("the register of connections of several nodes", () => {
  test("keeps to a user's limit when connections to three nodes are opened concurrently", async () => {
    const nodes = [await place.open(), await place.open(), await place.open()];
    const entered = await Promise.all(
      Array.from({ length: 30 }, (_, index) => nodes[index % 3]?.connections.enter("alice", String(index), 5)),
    );
    const leaves = entered.filter((leave) => leave !== undefined);
    expect(leaves).toHaveLength(5);
    for (const { connections } of nodes) expect(await connections.total()).toBe(5);
    leaves[0]?.();
    await vi.waitFor(async () => expect(await nodes[1]?.connections.enter("alice", "next", 5)).toBeDefined());
    expect(await nodes[2]?.connections.enter("alice", "too-many", 5)).toBeUndefined();
  });

  test("removes a dead node's connections after the node timeout", async () => {
    const [dead, alive] = [await place.open(FAST), await place.open(FAST)];
    for (let index = 0; index < 1_200; index++) await dead.connections.enter(`user-${index}`, `of-dead-${index}`, 1);
    await dead.connections.enter("alice", "of-dead", 1);
    await place.kill(dead);
    const elapsedMs = startRunningClock();
    expect(await alive.connections.enter("alice", "mine", 1)).toBeUndefined();
    await vi.waitFor(async () => expect(await alive.connections.enter("alice", "mine", 1)).toBeDefined());
    expect(elapsedMs()).toBeLessThan(2 * FAST.deadAfterMs);
    expect(ids(await alive.nodes())).toEqual(new Set([alive.nodeId]));
    expect(await alive.connections.total()).toBe(1);
    const left = async () => (await redisKeys()).filter((key) => /cluster:(user|connections):/.test(key));
    await vi.waitFor(async () => expect(await left()).toHaveLength(2));
  });

  test("does not count the connections of a node that has stopped", async () => {
    const [leaving, staying] = [await place.open(), await place.open()];
    await leaving.connections.enter("alice", "1", 1);
    await leaving.stop();
    expect(await staying.connections.enter("alice", "2", 1)).toBeDefined();
    expect(ids(await staying.nodes())).toEqual(new Set([staying.nodeId]));
  });

  test("registers the connections of a live node again after it was regarded as dead", async () => {
    const frozen = await startClusterProcess({ url: redis.url, prefix: "frozen", ...FAST });
    const other = redisPlace(redis, "frozen");
    const alive = await other.open(FAST);
    try {
      expect(await frozen.enter("alice", "of-frozen", 1)).toBe(true);
      frozen.freeze();
      await vi.waitFor(async () => expect(await alive.nodes()).toHaveLength(1));
      expect(await alive.connections.total()).toBe(0);
      frozen.thaw();
      await vi.waitFor(async () => expect(await alive.connections.total()).toBe(1));
      expect(await alive.connections.enter("alice", "mine", 1)).toBeUndefined();
    } finally {
      await frozen.kill();
      await other.dispose();
    }
  });

  test("is complete again after Redis lost its data", async () => {
    const lost = await startRedis();
    const other = redisPlace(lost);
    try {
      const cluster = await other.open(FAST);
      for (let index = 0; index < 20; index++) await cluster.connections.enter("alice", String(index), 20);
      await lost.stop("SIGKILL");
      await lost.startEmpty();
      await vi.waitFor(async () => expect(await cluster.connections.total()).toBe(20));
      expect(await cluster.connections.enter("alice", "one-more", 20)).toBeUndefined();
      const newcomer = await other.open(FAST);
      expect(await newcomer.connections.enter("alice", "elsewhere", 20)).toBeUndefined();
    } finally {
      await other.dispose();
      await lost.remove();
    }
  });

  async function redisKeys(): Promise<string[]> {
    const client = new Redis(redis.url);
    const keys = await client.keys(`*${place.prefix}*`);
    client.disconnect();
    return keys;
  }
});

describe("documents of several nodes", () => {
  test("are written by only one of several nodes that write at the same time, and no increment is lost", async () => {
    const nodes = [await place.open(), await place.open(), await place.open()];
    const addOne = async ({ documents }: Cluster) => {
      for (;;) {
        const found = await documents.get("counts", "x");
        const next = Number(found?.value ?? 0) + 1;
        if ((await documents.put("counts", "x", next, { ifVersion: found?.version ?? null })) !== undefined) return;
      }
    };
    await Promise.all(Array.from({ length: 10 }, () => nodes.map(addOne)).flat());
    expect((await nodes[0]?.documents.get("counts", "x"))?.value).toBe(30);
  });

  test("are watched at every node", async () => {
    const [here, there] = [await place.open(), await place.open()];
    const heard: (string | undefined)[] = [];
    there.documents.watch("devices", (key) => heard.push(key));
    for (let index = 0; index < 100; index++) await here.documents.put("devices", `camera-${index}`, index);
    await here.documents.delete("devices", "camera-7");
    await vi.waitFor(() => expect(heard).toHaveLength(101));
    expect(heard).toEqual([...Array.from({ length: 100 }, (_, index) => `camera-${index}`), "camera-7"]);
    expect(await there.documents.list("devices")).toHaveLength(99);
  });

  test("that have expired are deleted", async () => {
    let now = 1_000;
    const [cluster, keeper] = [await place.open({ ...FAST, expiryNow: () => now }), new Redis(redis.url)];
    for (let index = 0; index < 300; index++)
      await cluster.documents.put("revocations", `brief-${index}`, 1, { expiresAt: 2_000 });
    await cluster.documents.put("revocations", "kept", 1);
    now = 2_001;
    expect(await cluster.documents.list("revocations")).toHaveLength(1);
    const hash = `{${place.prefix}}:cluster:documents:revocations`;
    await vi.waitFor(async () => expect(await keeper.hlen(hash)).toBe(1));
    keeper.disconnect();
  });
});

describe("signals of several nodes", () => {
  test("reach every node once, in the order in which they were sent, with the sender's id", async () => {
    const nodes = [await place.open(), await place.open(), await place.open()];
    const heard = nodes.map(({ signals }) => {
      const messages: [Json, string][] = [];
      signals.on("n", (message, from) => messages.push([message, from]));
      return messages;
    });
    for (let index = 0; index < 200; index++) for (const { signals } of nodes) signals.send("n", index);
    await vi.waitFor(() => expect(heard.map(({ length }) => length)).toEqual([600, 600, 600]));
    for (const messages of heard) {
      for (const { nodeId } of nodes)
        expect(messages.filter(([, from]) => from === nodeId).map(([message]) => message)).toEqual(
          Array.from({ length: 200 }, (_, index) => index),
        );
    }
  });

  test("report that messages may have been missed after a disconnection, even without a further signal", async () => {
    const [here, there] = [await place.open(FAST), await place.open(FAST)];
    const [missed, changed] = [vi.fn(), vi.fn()];
    there.signals.on("n", () => {}, missed);
    there.documents.watch("devices", changed);
    const operator = new Redis(redis.url);
    await operator.call("CLIENT", "KILL", "TYPE", "pubsub");
    here.signals.send("n", "perhaps not heard");
    await vi.waitFor(() => expect(missed).toHaveBeenCalled());
    expect(changed).toHaveBeenCalledWith(undefined);
    operator.disconnect();
    const heard = vi.fn();
    there.signals.on("n", heard);
    await vi.waitFor(() => {
      here.signals.send("n", "later");
      expect(heard).toHaveBeenCalledWith("later", here.nodeId);
    });
  });

  test("do not report missed messages when no message was missed", async () => {
    const [here, there] = [await place.open(FAST), await place.open(FAST)];
    const missed = vi.fn();
    let heard = 0;
    for (const { signals } of [here, there]) signals.on("n", () => heard++, missed);
    for (let round = 0; round < 20; round++) {
      for (let index = 0; index < 20; index++) {
        here.signals.send("n", index);
        await there.documents.put("x", "y", index);
      }
      await vi.waitFor(() => expect(heard).toBe((round + 1) * 40));
    }
    expect(missed).not.toHaveBeenCalled();
  });
});

describe("leases of several nodes", () => {
  test("have one holder over all nodes", async () => {
    const nodes = [await place.open(), await place.open(), await place.open()];
    const leases = await Promise.all(
      Array.from({ length: 12 }, (_, index) => nodes[index % 3]?.leases.acquire("trim")),
    );
    expect(leases.filter((lease) => lease !== undefined)).toHaveLength(1);
    await leases.find((lease) => lease !== undefined)?.release();
    expect(await nodes[2]?.leases.acquire("trim")).toBeDefined();
  });

  test("are held as long as their holder lives", async () => {
    const [holder, other] = [await place.open({ leaseMs: LEASE_MS }), await place.open({ leaseMs: LEASE_MS })];
    const lease = await holder.leases.acquire("trim");
    const until = Date.now() + 1.2 * LEASE_MS;
    while (Date.now() < until) {
      expect(await other.leases.acquire("trim")).toBeUndefined();
      await pause(20);
    }
    expect(lease?.lost.aborted).toBe(false);
  });

  test("of a suspended holder move to another node, and the holder notices as soon as it runs again", async () => {
    const holder = await startClusterProcess({ url: redis.url, prefix: "lease", ...FAST, leaseMs: LEASE_MS });
    const other = await startClusterProcess({ url: redis.url, prefix: "lease", ...FAST, leaseMs: LEASE_MS });
    try {
      expect(await holder.acquire("trim")).toBe(true);
      expect(await other.acquire("trim")).toBe(false);
      holder.freeze();
      const elapsedMs = startRunningClock();
      await vi.waitFor(async () => expect(await other.acquire("trim")).toBe(true));
      expect(elapsedMs()).toBeLessThan(2 * LEASE_MS);
      holder.thaw();
      await holder.lost("trim");
      // If the machine suspended the other node for seconds, that node may have lost the lease, too.
      if (await holder.acquire("trim")) await other.lost("trim");
    } finally {
      await holder.kill();
      await other.kill();
    }
  });

  test("give each holder a larger fence, and refuse writes with the fence of a former holder", async () => {
    const [former, other] = [await place.open(), await place.open()];
    const lease = await former.leases.acquire("trim");
    const fence = lease?.fence ?? { lease: "", number: 0 };
    expect(await former.documents.put("trims", "last", 1, { fence })).toBeDefined();
    // The lease expires, and the holder does not know it yet.
    await lease?.release();
    const refused = { name: "LeaseLostError" };
    await expect(former.documents.put("trims", "last", 2, { fence })).rejects.toMatchObject(refused);
    const next = (await other.leases.acquire("trim"))?.fence ?? { lease: "", number: 0 };
    expect(next.number).toBeGreaterThan(fence.number);
    await expect(former.documents.put("trims", "last", 2, { fence })).rejects.toMatchObject(refused);
    await expect(former.documents.delete("trims", "last", { fence })).rejects.toMatchObject(refused);
    expect((await other.documents.get("trims", "last"))?.value).toBe(1);
    expect(await other.documents.delete("trims", "last", { fence: next })).toBe(true);
  });

  test("of a killed holder move to another node", async () => {
    const holder: ClusterProcess = await startClusterProcess({ url: redis.url, prefix: "killed", ...FAST });
    const other = await startClusterProcess({ url: redis.url, prefix: "killed", ...FAST });
    try {
      expect(await holder.acquire("trim")).toBe(true);
      await holder.kill();
      await vi.waitFor(async () => expect(await other.acquire("trim")).toBe(true));
    } finally {
      await other.kill();
    }
  });
});

describe("counters of several nodes", () => {
  test("are summed over all nodes, and a repeated batch is added once", async () => {
    const [here, there] = [await place.open(), await place.open()];
    await here.counters?.add(1, { events: 3 });
    await here.counters?.add(1, { events: 3 });
    await there.counters?.add(1, { events: 4, commands: 1 });
    const found = await here.counters?.add(2, {});
    expect(found?.sums).toEqual(
      new Map([
        ["events", 7],
        ["commands", 1],
      ]),
    );
    expect(Math.abs((found?.since ?? 0) - Date.now())).toBeLessThan(60_000);
    await here.stop();
    await there.stop();
    const next = await place.open();
    expect((await next.counters?.add(1, { events: 1 }))?.sums.get("events")).toBe(8);
  });
});

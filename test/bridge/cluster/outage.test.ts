import { setImmediate as immediate, setTimeout as pause } from "node:timers/promises";
import { Redis } from "ioredis";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Cluster } from "../../../bridge/cluster/cluster.ts";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import { MAX_PENDING_COMMANDS } from "../../../platform/redis/open-connection.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { startRunningClock } from "../../support/running-clock.ts";
import { type RedisPlace, redisPlace } from "./redis-place.ts";

const FAST = { heartbeatMs: 300, deadAfterMs: 3_000, leaseMs: 1_000, commandTimeoutMs: 1_000 };

let redis: RedisServer;
let place: RedisPlace;
let cluster: Cluster;
beforeEach(async () => {
  redis = await startRedis();
  place = redisPlace(redis);
  cluster = await place.open(FAST);
});
afterEach(async () => {
  redis.process.kill("SIGCONT");
  await place.dispose();
  await redis.remove();
});

const WAYS: { name: string; leave: () => Promise<void>; back: () => Promise<void> }[] = [
  { name: "has ended", leave: () => redis.stop("SIGKILL"), back: () => redis.start() },
  {
    name: "hangs",
    leave: async () => {
      redis.process.kill("SIGSTOP");
    },
    back: async () => {
      redis.process.kill("SIGCONT");
    },
  },
];

describe.each(WAYS)("while Redis $name", ({ leave, back }) => {
  test("the cluster is unavailable, rejects calls soon, and recovers by itself afterwards", async () => {
    await cluster.documents.put("devices", "north", 1);
    await leave();
    const elapsedMs = startRunningClock();
    await expect(cluster.documents.put("devices", "north", 2)).rejects.toThrow(StoreUnavailableError);
    expect(elapsedMs()).toBeLessThan(4_000);
    expect(cluster.unavailableReason).toMatch(/^Redis /);
    const calls = [
      cluster.documents.get("devices", "north"),
      cluster.documents.list("devices"),
      cluster.documents.delete("devices", "north"),
      cluster.leases.acquire("trim"),
      cluster.nodes(),
      cluster.connections.total(),
      cluster.counters?.add(1, {}),
    ];
    const refusals = calls.map((call) => expect(call).rejects.toThrow(StoreUnavailableError));
    // The calls reject without waiting.
    expect(await Promise.race([Promise.all(refusals), immediate("waits")])).not.toBe("waits");
    await expect(cluster.check()).rejects.toThrow(StoreUnavailableError);
    await back();
    await vi.waitFor(() => expect(cluster.unavailableReason).toBeUndefined());
    await cluster.check();
    await cluster.documents.put("devices", "north", 3);
    expect((await cluster.documents.get("devices", "north"))?.value).toBe(3);
    expect(await cluster.leases.acquire("trim")).toBeDefined();
  });

  test("connections are admitted while their node alone is below the limit, and registered afterwards", async () => {
    await cluster.connections.enter("alice", "before", 3);
    const leaving = await cluster.connections.enter("alice", "leaving", 3);
    await leave();
    await expect(cluster.check()).rejects.toThrow();
    leaving?.();
    expect(await cluster.connections.enter("alice", "1", 3)).toBeDefined();
    expect(await cluster.connections.enter("alice", "2", 3)).toBeDefined();
    expect(await cluster.connections.enter("alice", "3", 3)).toBeUndefined();
    expect(await cluster.connections.enter("bob", "4", 3)).toBeDefined();
    await back();
    await vi.waitFor(async () => expect(await cluster.connections.total()).toBe(4));
    const other = await place.open(FAST);
    expect(await other.connections.enter("alice", "elsewhere", 3)).toBeUndefined();
    expect(await other.connections.enter("bob", "elsewhere", 3)).toBeDefined();
  });

  test("a lease is lost before another node can acquire it", async () => {
    const lease = await cluster.leases.acquire("trim");
    await leave();
    // The lease ends within `leaseMs`, because its last renewal was before the outage.
    await pause(FAST.leaseMs + 100);
    expect(lease?.lost.aborted).toBe(true);
    await back();
  });

  test("signals reach the sending node, and the other nodes are notified of missed messages", async () => {
    const other = await place.open(FAST);
    const [own, missed, watched] = [vi.fn(), vi.fn(), vi.fn()];
    cluster.signals.on("n", own);
    other.signals.on("n", () => {}, missed);
    other.documents.watch("devices", watched);
    await leave();
    await expect(cluster.check()).rejects.toThrow();
    cluster.signals.send("n", 1);
    await vi.waitFor(() => expect(own).toHaveBeenCalledWith(1, cluster.nodeId));
    await back();
    await vi.waitFor(() => expect(missed).toHaveBeenCalled());
    expect(watched).toHaveBeenCalledWith(undefined);
    const heard = vi.fn();
    other.signals.on("n", heard);
    await vi.waitFor(() => {
      cluster.signals.send("n", 2);
      expect(heard).toHaveBeenCalledWith(2, cluster.nodeId);
    });
  });

  test("stopping does not wait for Redis", async () => {
    await leave();
    const elapsedMs = startRunningClock();
    await cluster.stop();
    expect(elapsedMs()).toBeLessThan(10_000);
    await back();
  });
});

test("the number of commands that wait for a slow Redis is limited", async () => {
  redis.process.kill("SIGSTOP");
  const calls = Array.from({ length: MAX_PENDING_COMMANDS + 100 }, () => cluster.documents.get("devices", "north"));
  const settled: string[] = [];
  void calls[0]?.catch(() => settled.push("one that waits"));
  await expect(calls.at(-1)).rejects.toThrow("20000 commands already wait for Redis: Redis is too slow");
  // The call was rejected without waiting for Redis or for a timeout.
  expect(settled).toEqual([]);
  for (const outcome of await Promise.allSettled(calls)) expect(outcome.status).toBe("rejected");
});

test("a full Redis is reported with the remedy", async () => {
  const operator = new Redis(redis.url);
  await operator.config("SET", "maxmemory", "1");
  await expect(cluster.check()).rejects.toThrow("Redis is out of memory: raise its maxmemory");
  await operator.config("SET", "maxmemory", "0");
  await vi.waitFor(() => expect(cluster.unavailableReason).toBeUndefined());
  operator.disconnect();
});

test("a start without Redis fails in time, with the reason", async () => {
  await redis.stop();
  const elapsedMs = startRunningClock();
  await expect(place.open({ ...FAST, startTimeoutMs: 500 })).rejects.toThrow("Redis cannot be reached");
  expect(elapsedMs()).toBeLessThan(10_000);
});

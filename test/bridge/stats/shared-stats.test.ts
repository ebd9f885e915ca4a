import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { Counters } from "../../../bridge/cluster/cluster.ts";
import { startSharedStats } from "../../../bridge/stats/shared-stats.ts";
import type { Stats } from "../../../bridge/stats/stats.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { startRunningClock } from "../../support/running-clock.ts";
import { type RedisPlace, redisPlace } from "../cluster/redis-place.ts";

const logger = pino({ level: "silent" });

let redis: RedisServer;
let place: RedisPlace;
let running: Stats[];

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.remove());
beforeEach(() => {
  place = redisPlace(redis);
  running = [];
});
afterEach(async () => {
  await Promise.all(running.map((stats) => stats.stop()));
  await place.dispose();
});

/** Starts another node that adds to the totals. */
async function node(wrap: (counters: Counters) => Counters = (counters) => counters): Promise<Stats> {
  const { counters } = await place.open({ heartbeatMs: 100 });
  if (counters === undefined) throw new Error("no counters");
  const stats = startSharedStats({ counters: wrap(counters), logger, flushIntervalMs: 20 });
  running.push(stats);
  return stats;
}

describe("totals over all nodes", () => {
  it("are the same sums on each node", async () => {
    const nodes = [await node(), await node(), await node()];
    for (let round = 0; round < 50; round++) for (const stats of nodes) stats.add("events", 2);
    for (const stats of nodes)
      await vi.waitFor(() => expect(stats.totals()).toMatchObject({ starts: 3, counts: { events: 300, commands: 0 } }));
    expect(new Set(nodes.map((stats) => stats.totals().since)).size).toBe(1);
  });

  it("include the node's own counts before they are flushed", async () => {
    const stats = await node();
    stats.add("commands", 3);
    expect(stats.totals().counts.commands).toBe(3);
  });

  it("survive a stop of all nodes", async () => {
    const first = await node();
    first.add("broadcasts", 7);
    const { since } = first.totals();
    await first.stop();
    const next = await node();
    await vi.waitFor(() => expect(next.totals()).toMatchObject({ starts: 2, counts: { broadcasts: 7 } }));
    expect(Math.abs(Date.parse(next.totals().since) - Date.parse(since))).toBeLessThan(10_000);
  });

  it("include a flush only once when its reply was lost and the flush is repeated", async () => {
    let lost = 0;
    const loseReplies = (counters: Counters): Counters => ({
      async add(batch, by) {
        const reply = await counters.add(batch, by);
        if (lost++ % 3 !== 0) throw new Error("the reply was lost");
        return reply;
      },
    });
    const [stats, other] = [await node(loseReplies), await node()];
    for (let index = 0; index < 200; index++) {
      stats.add("events");
      await new Promise((resolve) => setImmediate(resolve));
    }
    await vi.waitFor(() => expect(other.totals().counts.events).toBe(200));
    await vi.waitUntil(() => lost > 12);
    expect(other.totals().counts.events).toBe(200);
    expect(stats.totals().counts.events).toBe(200);
  });

  it("continue while Redis is unavailable, and are flushed afterwards", async () => {
    const stats = await node();
    stats.add("events", 5);
    await redis.stop("SIGKILL");
    stats.add("events", 6);
    expect(stats.totals().counts.events).toBe(11);
    await redis.start();
    const other = await node();
    await vi.waitFor(() => expect(other.totals().counts.events).toBe(11));
  });

  it("reach Redis within a second, so that a killed node loses less than that", async () => {
    const { counters } = await place.open();
    if (counters === undefined) throw new Error("no counters");
    const stats = startSharedStats({ counters, logger });
    running.push(stats);
    const other = await node();
    await vi.waitFor(() => expect(other.totals().starts).toBe(2));
    for (const events of [1, 2]) {
      const elapsedMs = startRunningClock();
      stats.add("events");
      await vi.waitFor(() => expect(other.totals().counts.events).toBe(events));
      expect(elapsedMs()).toBeLessThan(1_000);
    }
  });

  it("lose only the unflushed counts of a killed node", async () => {
    const cluster = await place.open();
    if (cluster.counters === undefined) throw new Error("no counters");
    const killed = startSharedStats({ counters: cluster.counters, logger, flushIntervalMs: 20 });
    killed.add("events", 40);
    const other = await node();
    await vi.waitFor(() => expect(other.totals().counts.events).toBe(40));
    await place.kill(cluster);
    killed.add("events", 2);
    await killed.stop();
    await vi.waitFor(() => expect(other.totals().counts.events).toBe(40));
    expect(killed.totals().counts.events).toBe(42);
  });
});

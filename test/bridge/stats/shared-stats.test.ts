import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { Counters } from "../../../bridge/cluster/cluster.ts";
import { startSharedStats } from "../../../bridge/stats/shared-stats.ts";
import type { Stats } from "../../../bridge/stats/stats.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
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

/** One more node that counts. */
async function node(look: (counters: Counters) => Counters = (counters) => counters): Promise<Stats> {
  const { counters } = await place.open({ heartbeatMs: 100 });
  if (counters === undefined) throw new Error("no counters");
  const stats = startSharedStats({ counters: look(counters), logger, flushIntervalMs: 20 });
  running.push(stats);
  return stats;
}

describe("totals over nodes", () => {
  it("are the sum of all, at each of them", async () => {
    const nodes = [await node(), await node(), await node()];
    for (let round = 0; round < 50; round++) for (const stats of nodes) stats.add("events", 2);
    for (const stats of nodes)
      await vi.waitFor(() => expect(stats.totals()).toMatchObject({ starts: 3, counts: { events: 300, commands: 0 } }));
    expect(new Set(nodes.map((stats) => stats.totals().since)).size).toBe(1);
  });

  it("show what a node has counted at once, before it is flushed", async () => {
    const stats = await node();
    stats.add("commands", 3);
    expect(stats.totals().counts.commands).toBe(3);
  });

  it("survive the end of all nodes", async () => {
    const first = await node();
    first.add("broadcasts", 7);
    const { since } = first.totals();
    await first.stop();
    const next = await node();
    await vi.waitFor(() => expect(next.totals()).toMatchObject({ starts: 2, counts: { broadcasts: 7 } }));
    expect(Math.abs(Date.parse(next.totals().since) - Date.parse(since))).toBeLessThan(10_000);
  });

  it("count once what was flushed without an answer", async () => {
    let lost = 0;
    const deaf = (counters: Counters): Counters => ({
      async add(batch, by) {
        const answer = await counters.add(batch, by);
        if (lost++ % 3 !== 0) throw new Error("the answer was lost");
        return answer;
      },
    });
    const [stats, other] = [await node(deaf), await node()];
    for (let index = 0; index < 200; index++) {
      stats.add("events");
      await new Promise((resolve) => setImmediate(resolve));
    }
    await vi.waitFor(() => expect(other.totals().counts.events).toBe(200));
    await vi.waitUntil(() => lost > 12);
    expect(other.totals().counts.events).toBe(200);
    expect(stats.totals().counts.events).toBe(200);
  });

  it("go on while Redis is away, and are flushed when it is back", async () => {
    const stats = await node();
    stats.add("events", 5);
    await redis.stop("SIGKILL");
    stats.add("events", 6);
    expect(stats.totals().counts.events).toBe(11);
    await redis.start();
    const other = await node();
    await vi.waitFor(() => expect(other.totals().counts.events).toBe(11));
  });

  it("lose with a killed node only what it had not flushed", async () => {
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

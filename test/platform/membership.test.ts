import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { openRedis, type RedisConnections } from "../../platform/redis/connections.ts";
import type { Membership, MembershipOptions } from "../../platform/redis/membership.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { joinNodes } from "../support/redis-journal.ts";

/** The tests send the heartbeats themselves. */
const SILENT = { heartbeatMs: 3_600_000, deadAfterMs: 1_000 };
const LIVELY = { heartbeatMs: 50, deadAfterMs: 1_000 };

let server: RedisServer;
let redis: RedisConnections;
let places = 0;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.remove());
beforeEach(() => {
  redis = openRedis({ url: server.url, prefix: `membership-${places++}`, logger: pino({ level: "silent" }) });
  onTestFinished(() => redis.close());
});

interface Node {
  membership: Membership;
  /** The subjects of warnings. */
  warned: string[];
  leave(): Promise<void>;
}

async function join(options: Partial<MembershipOptions> = {}): Promise<Node> {
  const warned: string[] = [];
  const write = (line: string) => warned.push(JSON.parse(line).subject);
  const logger = pino({ level: "warn" }, { write });
  const { membership, leave } = await joinNodes(redis, { ...SILENT, logger, ...options });
  onTestFinished(leave);
  return { membership, warned, leave };
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const idsOf = async ({ membership }: Node) => new Set((await membership.nodes()).map(({ id }) => id));
const subjects = ({ membership }: Node) => membership.disagreements.map(({ subject }) => subject);

describe("a node of another version", () => {
  const OWN = { version: 5, oldest: 4 };
  const MISMATCHES = [
    [
      "that is too old for a running node",
      { version: 7, oldest: 6 },
      /works only with 6 and newer, and this version has 5/,
    ],
    [
      "that is too new for a running node",
      { version: 3, oldest: 1 },
      /version 3 .* this version works only with 4 and newer/,
    ],
  ] as const;

  test.each(MISMATCHES)("%s does not join, and says what to do", async (_, formats, why) => {
    const running = await join({ ...LIVELY, formats });
    await expect(join({ formats: OWN })).rejects.toThrow(why);
    await expect(join({ formats: OWN })).rejects.toThrow("stop all nodes first");
    expect(await idsOf(running)).toEqual(new Set([running.membership.nodeId]));
  });

  test("joins older and newer nodes that it works with", async () => {
    const nodes = [];
    for (const formats of [{ version: 6, oldest: 4 }, OWN, { version: 4, oldest: 1 }])
      nodes.push(await join({ formats }));
    for (const node of nodes) expect((await idsOf(node)).size).toBe(nodes.length);
  });

  test("joins when the silent node that it does not work with is dead", async () => {
    await join({ formats: { version: 3, oldest: 1 } });
    const next = await join({ ...LIVELY, formats: OWN });
    expect(await idsOf(next)).toEqual(new Set([next.membership.nodeId]));
  });

  test("does not join when a newer version, which has ended, has left data that it does not read", async () => {
    await (await join({ formats: { version: 7, oldest: 6 } })).leave();
    await expect(join({ formats: OWN })).rejects.toThrow("the data in Redis has version 6");
    await join({ formats: { version: 6, oldest: 6 } });
  });
});

describe("a node without heartbeats", () => {
  test("is dead for everybody after the time of silence, knows it in advance, and rejoins", async () => {
    const [alive, frozen] = [await join(LIVELY), await join()];
    let rejoins = 0;
    frozen.membership.onRejoin(() => rejoins++);
    const both = new Set([alive.membership.nodeId, frozen.membership.nodeId]);
    expect(await idsOf(alive)).toEqual(both);
    const silentSince = performance.now();
    await expect.poll(() => idsOf(alive)).toEqual(new Set([alive.membership.nodeId]));
    expect(performance.now() - silentSince).toBeLessThan(3 * SILENT.deadAfterMs);
    expect(performance.now()).toBeGreaterThan(frozen.membership.aliveUntil);
    await frozen.membership.beat();
    expect(rejoins).toBe(1);
    expect(await idsOf(alive)).toEqual(both);
    await frozen.membership.beat();
    expect(rejoins).toBe(1);
  });

  test("that leaves is gone at once", async () => {
    const [one, other] = [await join(), await join()];
    await other.leave();
    expect(await idsOf(one)).toEqual(new Set([one.membership.nodeId]));
  });

  test("is not dead when nobody could send heartbeats", async () => {
    const [one, other] = [await join(), await join()];
    let rejoins = 0;
    other.membership.onRejoin(() => rejoins++);
    await pause(1.2 * SILENT.deadAfterMs);
    await one.membership.beat();
    expect(await idsOf(one)).toContain(other.membership.nodeId);
    await other.membership.beat();
    expect(rejoins).toBe(0);
  });

  test("is dead soon when a node of its name has started", async () => {
    const died = await join({ name: "a" });
    // The later start has a later millisecond.
    await pause(2);
    const again = await join({ ...LIVELY, name: "a" });
    const startedAt = performance.now();
    await expect.poll(() => idsOf(again)).toEqual(new Set([again.membership.nodeId]));
    expect(performance.now() - startedAt).toBeLessThan(0.9 * SILENT.deadAfterMs);
    expect(died.warned).toEqual([]);
  });

  test("rejoins after Redis was emptied", async () => {
    const one = await join();
    let rejoins = 0;
    one.membership.onRejoin(() => rejoins++);
    await redis.commands.do((client) => client.flushall());
    await one.membership.beat();
    expect(rejoins).toBe(1);
    expect(await idsOf(one)).toEqual(new Set([one.membership.nodeId]));
  });
});

describe("nodes that differ", () => {
  test("in their clocks say so at both nodes, once, and share the clock of Redis", async () => {
    const ahead = await join({ wall: () => Date.now() + 300_000 });
    const right = await join();
    for (let beats = 0; beats < 3; beats++) for (const { membership } of [ahead, right]) await membership.beat();
    expect(ahead.membership.disagreements.map(({ message }) => message)).toEqual([
      `the clock of node ${right.membership.nodeId} is 300 s behind the clock of this node: synchronise both`,
    ]);
    expect(right.membership.disagreements.map(({ message }) => message)).toEqual([
      `the clock of node ${ahead.membership.nodeId} is 300 s ahead of the clock of this node: synchronise both`,
    ]);
    expect([ahead.warned, right.warned]).toEqual([["clock"], ["clock"]]);
    expect(Math.abs(ahead.membership.now() - right.membership.now())).toBeLessThan(1_000);
    await ahead.leave();
    await right.membership.beat();
    expect(right.membership.disagreements).toEqual([]);
  });

  test("by less than five seconds are silent", async () => {
    const nodes = [await join({ wall: () => Date.now() + 4_000 }), await join()];
    for (const { membership } of nodes) await membership.beat();
    expect(nodes.flatMap(subjects)).toEqual([]);
  });

  test("in nothing but have the same name say so", async () => {
    const [one, other] = [await join({ name: "a" }), await join({ name: "a" })];
    await pause(1_100);
    for (const { membership } of [one, other, one]) await membership.beat();
    expect([subjects(one), subjects(other)]).toEqual([["name"], ["name"]]);
  });
});

import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import type { LoggedPublication, MqttLog } from "../../../platform/publication-log.ts";
import { openRedis } from "../../../platform/redis/connections.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { positions, range } from "./messages.ts";
import { mqttOf, readLog } from "./mqtt-log-suite.ts";
import { startReadCutter } from "./read-cutter.ts";
import { createRedisPlace, type RedisPlace } from "./redis-place.ts";

const WRITTEN_AT = 1_800_000_000_000;
const COUNT = 2_000;
const RARE = range(1, COUNT / 100).map((n) => n * 100 - 99);

let server: RedisServer;
let place: RedisPlace;
let one: MqttLog;
let two: MqttLog;

beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.remove());
beforeEach(async () => {
  place = await createRedisPlace(server.url);
  const options = { waits: { heartbeatMs: 20 }, now: () => WRITTEN_AT };
  const nodes = await Promise.all([place.openNode(options), place.openNode(options)]);
  [one, two] = [mqttOf(nodes[0]), mqttOf(nodes[1])];
  for (const { rows } of [one, two]) {
    for await (const _ of rows.load("session:")) throw new Error("there is a session already");
    rows.follow(LISTENER);
  }
  for (let n = 1; n <= COUNT; n += 50)
    await Promise.all(range(n, n + 49).map((m) => one.append({ ...publication, topic: topicOf(m) })));
  await expect.poll(() => two.publications.head).toBe(COUNT);
});
afterEach(() => place.dispose());

const LISTENER = { onTaken: () => {}, onLeft: () => {}, onRemoved: () => {}, onWill: () => {} };
const publication = { payload: Buffer.alloc(300, "x"), qos: 1, retain: false } as const;
const topicOf = (n: number) => (n % 100 === 1 ? "rare" : "often");
const isRare = ({ topic }: LoggedPublication) => topic === "rare";
const client = () => place.admin;
const key = (name: string) => `${place.prefix}journal:${name}`;

/** Resolves when a node is allowed to compact up to the position. */
const compacted = (log: MqttLog, upTo: number) =>
  expect.poll(() => log.publications.compact({ after: 0, upTo }, isRare).then(() => true, String)).toBe(true);

test("compacted rows are smaller, have their times, and are read and removed at every node", async () => {
  const before = await client().memory("USAGE", key("publications"), "SAMPLES", 0);
  const heard = [one, two].map(({ publications }) => {
    const removed = { upTo: 0, bytes: 0 };
    publications.onCompacted((upTo, bytes) => Object.assign(removed, { upTo, bytes: removed.bytes + bytes }));
    return removed;
  });
  two.publications.trim(0, COUNT);
  await compacted(one, COUNT);
  for (const { publications } of [one, two]) {
    const { read, missing } = await readLog(publications);
    expect(positions(read)).toEqual(RARE);
    expect(missing).toEqual([]);
    expect((await publications.scan(0)).stored?.every(({ at }) => at === WRITTEN_AT)).toBe(true);
  }
  expect(positions((await readLog(two.publications, 150)).read)).toEqual(RARE.slice(2));
  const removed = { upTo: COUNT, bytes: (COUNT - RARE.length) * (publication.payload.length + "often".length + 40) };
  await expect.poll(() => heard).toEqual([removed, removed]);
  expect(await client().exists(key("publications"))).toBe(1);
  expect(await client().xlen(key("publications"))).toBe(0);
  const after = await client().memory("USAGE", key("compacted"), "SAMPLES", 0);
  expect(after).toBeLessThan(Number(before) / 20);
  expect(two.publications.bytes).toBe(one.publications.bytes);
  expect(one.publications.bytes).toBeLessThan(20_000);
  // Rows of compactions can be compacted again.
  await one.publications.compact({ after: 0, upTo: COUNT }, ({ position }) => position > 1_000);
  expect(positions((await readLog(two.publications)).read)).toEqual(RARE.slice(10));
  const late = mqttOf(await place.openNode());
  expect(positions((await readLog(late.publications)).read)).toEqual(RARE.slice(10));
  await one.append({ ...publication, topic: "often" });
  expect((await readLog(one.publications)).missing).toEqual([]);
  late.publications.trim(COUNT);
  two.publications.trim(COUNT);
  await expect
    .poll(async () => {
      one.publications.trim(Math.min(COUNT, one.publications.floor + 1_000));
      return await client().zcard(key("compacted"));
    })
    .toBe(0);
  expect((await readLog(one.publications)).missing).toEqual([]);
});

test("what sessions that are connected to another node may want stays", async () => {
  const compact = (upTo: number) => one.publications.compact({ after: 0, upTo }, isRare);
  // The other node has not said what its sessions need.
  await expect(compact(COUNT)).rejects.toThrow("another node");
  await two.rows.take("a");
  two.rows.set("session:a", "at position 1000");
  await two.rows.flush();
  await expect.poll(() => one.rows.writerOf("a")).toBe("other");
  two.publications.trim(0, 1_000);
  await compacted(one, 1_000);
  await expect(compact(COUNT)).rejects.toThrow("another node");
  // The session moves to another node, which has said what it needed without the session.
  two.publications.trim(0, COUNT);
  await compacted(one, 1_000);
  await two.rows.take("b");
  await expect(compact(COUNT)).rejects.toThrow("another node");
  expect((await readLog(one.publications, 1_000)).read).toHaveLength(COUNT - 1_000);
});

test("a node compacts nothing while it does not know a session that has left another node", async () => {
  const cutter = await startReadCutter(Number(new URL(server.url).port));
  const logger = pino({ level: "silent" });
  const redis = openRedis({ url: cutter.url, prefix: place.prefix.replace(/[{}]|:$/g, ""), logger });
  const node = await place.openNode({ redis, waits: { blockMs: 50, heartbeatMs: 20 } });
  onTestFinished(async () => {
    await node.close();
    await redis.close();
    cutter.close();
  });
  const blind = mqttOf(node);
  for await (const _ of blind.rows.load("session:")) throw new Error("there is a session already");
  blind.rows.follow(LISTENER);
  await two.rows.take("a");
  two.rows.set("session:a", "at position 0");
  await two.rows.flush();
  await expect.poll(() => blind.rows.writerOf("a")).toBe("other");
  for (const { publications } of [one, two]) publications.trim(0, COUNT);
  await compacted(blind, 100);
  cutter.cutReads(1_000_000);
  await expect.poll(() => cutter.left(), { interval: 5 }).toBeLessThan(1_000_000);
  two.rows.release("a");
  await expect.poll(() => two.rows.writerOf("a")).toBe("nobody");
  const told = async () => (await client().hvals(key("publication-floors"))).map((entry) => entry.split(" ")[1]);
  const known = new Set(await told());
  two.publications.trim(0, COUNT);
  // The second node needs nothing any more, because the session has left it.
  await expect.poll(async () => (await told()).some((change) => !known.has(change))).toBe(true);
  const compacting = () => blind.publications.compact({ after: 0, upTo: COUNT }, isRare);
  await expect(compacting()).rejects.toThrow("another node");
  cutter.cutReads(0);
  await expect.poll(() => blind.rows.writerOf("a")).toBe("nobody");
  await compacted(blind, COUNT);
});

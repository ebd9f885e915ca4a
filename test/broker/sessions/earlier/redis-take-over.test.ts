import { readFileSync } from "node:fs";
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { z } from "zod";
import type { Damage } from "../../../../platform/level/damage.ts";
import { LONG } from "../../../support/long-form.ts";
import { freePort } from "../../../support/ports.ts";
import { type RedisServer, startRedis } from "../../../support/redis.ts";
import { type BrokerUnderTest, NORTH, topic } from "../../broker-under-test.ts";
import { idPacket, publishPacket, rawSession, TYPE } from "../../raw-client.ts";
import { type Nodes, nodes } from "../../redis-nodes.ts";
import { EVENT, earlierEnv, expectEverything, nameOf, rejoin, startTakeOver, takeOverInChild } from "./earlier-data.ts";
import type { TakeOverRequest } from "./take-over-child.ts";

/** What make-data.mjs has made with two nodes of the version before the log. */
const DATA = z
  .record(z.string(), z.string())
  .parse(JSON.parse(readFileSync(new URL("redis-data.json", import.meta.url), "utf8")));
const COUNTS = { sessions: 8, queued: 13, undelivered: 3, commands: 1, retained: 7, wills: 1, incomingIds: 1 };
const waits = { heartbeatMs: 100, blockMs: 50 };
const options = { waits };

/** Before the sessions are written, among the undelivered publications, and after the end. */
const SOME_POINTS: TakeOverRequest["killAt"][] = [
  { step: "put", count: 3, when: "before" },
  { step: "append", count: 15, when: "after" },
  { step: "end", count: 1, when: "after" },
];
const POINTS: TakeOverRequest["killAt"][] = [
  ...[1, 2, 3, 4, 5].flatMap((count) =>
    (["before", "after"] as const).map((when) => ({ step: "put" as const, count, when })),
  ),
  ...[1, 5, 13, 14, 16].map((count) => ({ step: "append" as const, count, when: "after" as const })),
  { step: "end", count: 1, when: "before" },
];

let server: RedisServer;
beforeAll(async () => {
  const args = ["--cluster-enabled", "yes", "--cluster-port", String(await freePort())];
  // A cluster refuses commands with keys of several slots.
  server = await startRedis({ args: [...args, "--cluster-announce-ip", "127.0.0.1"] });
  const redis = new Redis(server.url);
  await redis.cluster("ADDSLOTS", ...Array.from({ length: 16_384 }, (_, slot) => slot));
  await vi.waitFor(async () => expect(await redis.cluster("INFO")).toContain("cluster_state:ok"));
  redis.disconnect();
});
afterAll(() => server.remove());

/** Nodes on a Redis with the data. */
async function earlierCluster({ cluster: isCluster = false } = {}) {
  const cluster = await nodes({ on: server, cluster: isCluster });
  const key = (name: string) => cluster.prefix.replace(/journal:$/, "") + name;
  for (const [name, value] of Object.entries(DATA))
    await cluster.redis.restore(key(name), 0, Buffer.from(value, "base64"));
  const place = JSON.stringify({ url: server.url, prefix: /\{(.*)\}/.exec(cluster.prefix)?.[1] });
  return { ...cluster, key, place, startNode: () => cluster.start(earlierEnv, options) };
}

/** As if the lock of a dead process had expired. */
const unlock = ({ redis, prefix }: Nodes) => redis.del(`${prefix}mqtt-take-over`);
const tookOver = ({ log }: BrokerUnderTest) => log.filter(({ msg }) => msg.startsWith("took over the MQTT sessions"));

it("of three nodes that start at once, one takes over everything, and the others wait", async () => {
  const cluster = await earlierCluster({ cluster: true });
  const started = await Promise.all([cluster.startNode(), cluster.startNode(), cluster.startNode()]);
  expect(started.flatMap(tookOver)).toMatchObject([COUNTS]);
  const left = (await cluster.keys()).filter((name) => /mqtt:|unemitted|partial/.test(name));
  expect(left.filter((name) => !name.includes(":sender:"))).toEqual([]);
  // The broker discards the sessions of the two cameras, because the secrets of its cameras are others.
  for (const node of started) await expect.poll(() => node.broker.stats().sessions).toBe(COUNTS.sessions - 2);
  await expectEverything(started[1] ?? (await cluster.startNode()));
  const again = await cluster.startNode();
  expect(tookOver(again)).toEqual([]);
});

it("retained messages, message ids of incoming publications and commands are taken over, and the will comes once", async () => {
  const cluster = await earlierCluster();
  const [a, b] = await Promise.all([cluster.startNode(), cluster.startNode()]);
  const admin = { username: "carol", password: a.token(["admin"], 60_000, { userId: "carol" }) };
  const { client, inbox } = await a.join(admin);
  await client.subscribeAsync(["garden/lamp", "garden/fan", topic("cameras/north/state/+")], { qos: 1 });
  // With the presence of the camera.
  await inbox.has(4);
  await client.publishAsync("garden/lamp", "last", { qos: 1 });
  while (inbox.messages.at(-1)?.payload !== "last") await inbox.has(inbox.messages.length + 1);
  const retained = inbox.messages.filter(({ retain }) => retain).map(({ topic, payload }) => [topic, nameOf(payload)]);
  expect(retained.filter(([name]) => !name?.endsWith("presence")).sort()).toEqual([
    ["garden/lamp", "on"],
    [topic("cameras/north/state/battery"), "b2"],
    [topic("cameras/north/state/heater"), "h1"],
  ]);
  const watch = await rejoin(b, "carol", "watch", "admin");
  await watch.until("gone");
  await client.publishAsync("garden/a", "last", { qos: 1 });
  expect((await watch.until("last")).filter((name) => name.startsWith("gone"))).toEqual(["gone 1"]);
  const will = () => cluster.redis.hexists(`${cluster.prefix}mqtt-rows`, "will:user:carol\u001fgoodbye");
  await expect.poll(will).toBe(0);
  expect(await cluster.redis.hlen(`${cluster.prefix}open:earlier`)).toBe(1);

  const writer = await rawSession(b.broker.ports.mqtt, { ...admin, clientId: "writer", clean: false });
  writer.send(publishPacket({ topic: EVENT, payload: JSON.stringify({ v: 1, id: "e7" }), qos: 2, id: 77, dup: true }));
  await writer.next(TYPE.pubrec);
  expect(b.ingest.accepted.filter(({ topic }) => topic === EVENT)).toEqual([]);
  writer.send(idPacket(TYPE.pubrel, 77));
  await writer.next(TYPE.pubcomp);
});

it("a take-over that was killed at any point begins again, and loses and doubles nothing", async () => {
  const cluster = await earlierCluster();
  const points = LONG ? [...POINTS, ...SOME_POINTS] : SOME_POINTS;
  for (const killAt of points) {
    const report = await takeOverInChild(cluster.place, killAt === undefined ? {} : { killAt });
    expect(report, `the process was not killed at ${JSON.stringify(killAt)}`).toEqual({ kind: "open" });
    await unlock(cluster);
  }
  const test = await cluster.startNode();
  // The last process was killed when everything had been taken over.
  expect(tookOver(test)).toEqual([]);
  expect((await cluster.keys()).filter((name) => /mqtt:(?!sender)/.test(name))).toEqual([]);
  await expectEverything(test);
});

it.each([
  ["append", 1],
  ["append", 15],
  ["put", 3],
  ["end", 1],
] as const)(
  "what a node does that stood still before %s %i has no effect after another node has taken over",
  async (step, count) => {
    const cluster = await earlierCluster();
    const killAt = { step, count, when: "before" as const, signal: "SIGSTOP" as const };
    const { child, reports, reported } = await startTakeOver(cluster.place, { killAt });
    await reported("stops");
    // The lock of the first case expires by itself.
    if (step !== "end") await unlock(cluster);
    const test = await cluster.startNode();
    child.process.kill("SIGCONT");
    await child.ended;
    expect(reports.at(-1)?.error).toMatch(/stood still for too long.* Nothing is lost: start again/);
    await expectEverything(test);
  },
);

it("beside a running node of the earlier version, the start fails with the remedy and changes nothing", async () => {
  const cluster = await earlierCluster();
  const beat = async () => {
    const [seconds] = await cluster.redis.time();
    await cluster.redis.zadd(cluster.key("mqtt:nodes"), Number(seconds) * 1_000, "b1");
  };
  await beat();
  const beats = setInterval(() => void beat(), 200);
  await expect(cluster.startNode()).rejects.toThrow(/a node of the earlier version runs.*stop all nodes/);
  clearInterval(beats);
  // The node has stopped, and has removed its heartbeat.
  await cluster.redis.zrem(cluster.key("mqtt:nodes"), "b1");
  expect(tookOver(await cluster.startNode())).toMatchObject([COUNTS]);
});

it("an interrupted removal goes on, and what the earlier version has stored after a return is taken over", async () => {
  const cluster = await earlierCluster();
  const restore = async (names: readonly string[]) => {
    for (const name of names)
      await cluster.redis.restore(cluster.key(name), 0, Buffer.from(DATA[name] ?? "", "base64"), "REPLACE");
  };
  const old = Object.keys(DATA).filter((name) => name.startsWith("mqtt:"));
  const first = await cluster.startNode();
  await first.broker.stop();
  await restore(old);
  const second = await cluster.startNode();
  expect(tookOver(second)).toEqual([]);
  expect((await cluster.keys()).filter((name) => /mqtt:(?!sender)/.test(name))).toEqual([]);
  const before = await rejoin(second, "dave", "late");
  await before.until("u3");
  await expect.poll(() => before.packets.filter(({ cmd }) => cmd === "pubrel").length).toBe(3);
  await before.client.endAsync();
  await restore(old);
  await cluster.redis.incr(cluster.key("mqtt:boot"));
  const third = await cluster.startNode();
  expect(tookOver(third)).toMatchObject([{ ...COUNTS, undelivered: 0, commands: 0 }]);
  // A node of this version, which has run all the time, knows the sessions as well.
  const late = await rejoin(second, "dave", "late");
  expect(await late.until("e7")).toEqual(["e6 2", "e7 2"]);
});

it("damaged rows are named and counted, and everything else is taken over", async () => {
  const cluster = await earlierCluster();
  const { redis, key } = cluster;
  const [, , e4 = ""] = await redis.zrange(key("mqtt:queue:user:bob\u001fslow"), "0", "-1");
  await redis.hset(key("mqtt:packets:user:bob\u001fslow"), e4, "garbage");
  await redis.hset(key("mqtt:retained"), "garden/lamp", "garbage");
  await redis.hset(key("mqtt:wills"), "user:carol\u001fgoodbye", "garbage");
  await redis.hset(key("mqtt:filters"), "user:alice\u001farchive", "garbage");
  await redis.hset(key("mqtt:owners"), "user:dave\u001flate", "garbage");
  const damages: Damage[] = [];
  const test = await cluster.start(earlierEnv, { ...options, onDamage: (damage) => damages.push(damage) });
  expect(damages.map(({ store, missing }) => `${store}: ${missing}`)).toEqual([
    "mqtt: the sessions late (user:dave) are lost: their clients must subscribe again",
    "mqtt: lost: the filters of archive (user:alice), the retained message of garden/lamp, " +
      "a queued message of slow (user:bob), the will of goodbye (user:carol)",
  ]);
  const slow = await rejoin(test, "bob", "slow");
  expect(await slow.until("u3")).toEqual(["e1 1", "e3 1", "e5 1", "e6 1", "e7 1", "u2 1", "u3 1"]);
  await (await test.client(NORTH)).publishAsync(EVENT, JSON.stringify({ v: 1, id: "last" }), { qos: 2 });
  await slow.until("last");
});

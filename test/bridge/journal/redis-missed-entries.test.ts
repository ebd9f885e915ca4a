import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, onTestFinished, test } from "vitest";
import { followFromCheckpoint } from "../../../bridge/cameras/checkpoint.ts";
import type { CheckpointedRules } from "../../../bridge/cameras/watcher-rules.ts";
import { openLocalCluster } from "../../../bridge/cluster/local/local.ts";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { journalKeys } from "../../../bridge/journal/stores/redis/keys.ts";
import { renewEpoch } from "../../../bridge/journal/stores/redis/loading.ts";
import { openRedis } from "../../../platform/redis/connections.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { from, message, range } from "./messages.ts";
import { mqttOf } from "./mqtt-log-suite.ts";
import { createRedisPlace, type RedisPlace } from "./redis-place.ts";

const EPOCHS = 30;
const WAITS = { blockMs: 50, heartbeatMs: 50, deadAfterMs: 60_000 };

let server: RedisServer;
let place: RedisPlace;

beforeEach(async () => {
  server = await startRedis();
  place = await createRedisPlace(server.url);
});
afterEach(async () => {
  await place.dispose();
  await server.remove();
});

async function append(journal: Journal, ...seqs: number[]): Promise<void> {
  for (const seq of seqs) await journal.append(message(from("device:north", "s", seq)));
}

/** @returns the positions that a watcher with a checkpoint applies */
async function watch(journal: Journal): Promise<number[]> {
  const path = await mkdtemp(join(tmpdir(), "skylapse-watch-"));
  const logger = pino({ level: "silent" });
  const cluster = await openLocalCluster({ path, logger });
  const positions: number[] = [];
  const rules: CheckpointedRules = {
    ...{ collection: "positions", changed: new Set(), restore: () => {}, document: () => null },
    apply: ({ position }) => void positions.push(position),
  };
  const watcher = await followFromCheckpoint(rules, { journal, documents: cluster.documents, logger });
  onTestFinished(async () => {
    await watcher.stop();
    await cluster.stop();
    await rm(path, { recursive: true });
  });
  return positions;
}

async function folderOf({ url }: RedisServer): Promise<string> {
  const other = await createRedisPlace(url);
  const [, folder = ""] = (await other.admin.config("GET", "dir")) as [string, string];
  await other.dispose();
  return join(folder, "appendonlydir");
}

test("after Redis has lost entries, followers and watchers get those that other nodes appended before this node was back", async () => {
  const node = await place.openNode({ waits: WAITS });
  const followed: number[] = [];
  node.follow((entries) => void followed.push(...entries.map(({ position }) => position)));
  const watched = await watch(node);
  await append(node, 1, 2, 3);
  const data = await folderOf(server);
  const older = `${data}-older`;
  await server.stop();
  await cp(data, older, { recursive: true });
  await server.start();
  await expect.poll(() => append(node, 4, 5, 6).then(() => "appended", String)).toBe("appended");

  // Another Redis goes on from the older data, as the new master does, and another node appends there first.
  await server.stop();
  const spare = await startRedis();
  const spareData = await folderOf(spare);
  await spare.stop();
  await rm(spareData, { recursive: true });
  await cp(older, spareData, { recursive: true });
  await spare.start();
  const prefix = place.prefix.replace(/[{}]|:$/g, "");
  const redis = openRedis({ url: spare.url, prefix, logger: pino({ level: "silent" }) });
  const other = await place.openNode({ waits: WAITS, redis });
  await append(other, 11, 12);
  await other.close();
  await redis.close();
  await spare.stop();
  await rm(data, { recursive: true });
  await cp(spareData, data, { recursive: true });
  await spare.remove();
  await server.start();

  await expect.poll(() => append(node, 13).then(() => "appended", String)).toBe("appended");
  expect(followed).toEqual([...range(1, 6), 4, 5, 6]);
  expect(watched).toEqual(followed);
  expect(node.lostEvents).toBe(3);
});

test("a node that has lost nothing passes on no entry of a new epoch under the earlier one", async () => {
  const [one, other] = await Promise.all([
    place.openNode({ waits: WAITS }),
    // Its reads do not time out during this test: each gets the next entries.
    place.openNode({ waits: { ...WAITS, blockMs: 30_000 } }),
  ]);
  const followed: [number, string][] = [];
  other.follow(
    (entries) => void followed.push(...entries.map(({ position }): [number, string] => [position, other.epoch])),
  );
  await append(one, 1, 2, 3);
  await expect.poll(() => other.head).toBe(3);
  const earlier = one.epoch;
  // As a node does that has read entries which the new master does not have.
  await renewEpoch(place.redis.commands, journalKeys(place.redis.prefix), earlier, 3);
  await append(one, 4, 5, 6);
  await expect.poll(() => followed.length).toBe(6);
  expect(one.epoch).not.toBe(earlier);
  expect(followed).toEqual(range(1, 6).map((position) => [position, position <= 3 ? earlier : one.epoch]));
  expect([one.lostEvents, other.lostEvents]).toEqual([0, 0]);
});

test("a node that loses nothing passes on each entry once while epochs change during its appends, and reports no loss", async () => {
  const nodes = await Promise.all([place.openNode({ waits: WAITS }), place.openNode({ waits: WAITS })]);
  const followed = nodes.map((node) => {
    const positions: number[] = [];
    node.follow((entries) => void positions.push(...entries.map(({ position }) => position)));
    return positions;
  });
  const keys = journalKeys(place.redis.prefix);
  let isOver = false;
  const work = nodes.flatMap((node, index) =>
    range(1, 4).map(async (writer) => {
      for (let seq = 1; !isOver; seq++) {
        const sent = message(from("device:north", `${index}-${writer}`, seq));
        while ((await node.append(sent).then(() => "appended", String)) !== "appended");
      }
    }),
  );
  for (const _ of range(1, EPOCHS)) {
    const [known, head] = await place.admin.hmget(keys.meta, "epoch", "head");
    await renewEpoch(place.redis.commands, keys, known ?? "", Number(head));
    const reached = () => Math.min(...nodes.map((node) => node.head));
    await expect.poll(reached, { interval: 2 }).toBeGreaterThan(Number(head) + 20);
  }
  isOver = true;
  await Promise.all(work);
  const head = Math.max(...nodes.map((node) => node.head));
  await expect.poll(() => nodes.map((node) => node.head)).toEqual([head, head]);
  for (const positions of followed) expect(positions).toEqual(range(1, head));
  expect(nodes.map(({ lostEvents }) => lostEvents)).toEqual([0, 0]);
});

test("after Redis has lost entries, no other node may continue a client until its node has written what it knows", async () => {
  const { admin, prefix } = place;
  const node = await place.openNode({ waits: WAITS });
  const { rows, onReset } = mqttOf(node);
  const reset = new Promise((resolve) => onReset(resolve));
  const writer = async () => (await admin.hget(`${prefix}journal:mqtt-writers`, "a"))?.split(" ")[1];
  const listener = { onTaken: () => {}, onLeft: () => {}, onRemoved: () => {}, onWill: () => {} };
  for await (const _ of rows.load("session:")) throw new Error("there is a session already");
  rows.follow(listener);
  await rows.take("a");
  rows.set("session:a", "older");
  await rows.flush();
  const run = await writer();
  await admin.hset(`${prefix}journal:meta`, "epoch", "another");
  await reset;
  const loaded: [string, string][] = [];
  for await (const [key, row] of rows.load("session:")) loaded.push([key, row]);
  expect(loaded).toEqual([["session:a", "older"]]);
  rows.follow(listener);
  expect(rows.isUnchanged("a")).toBe(true);
  rows.set("session:a", "newer");
  await rows.flush();
  expect(await writer()).toBe(run);
  rows.settle();
  await expect.poll(writer).toBe("-");
});

test("no group of shared subscriptions passes over positions that Redis has lost, and that other publications will get", async () => {
  const node = await place.openNode({ waits: WAITS });
  await append(node, 1, 2, 3);
  const { shares } = mqttOf(node);
  if (shares === undefined) throw new Error("Redis stores no groups");
  const group = { key: "g", name: "g" };
  await shares.join(group, { key: "m", qos: 1, isPersistent: false, connection: 1 });
  await append(node, 4);
  shares.skipTo("g", 5);
  const turn = { base: 3, from: 3, setAside: [], connections: new Map([["m", 1]]) };
  const give = (position: number) =>
    shares.take("g", { ...turn, upTo: position, publications: [{ position, qos: 1, messageId: 1, member: "m" }] });
  expect(await give(5)).toEqual({ sent: 3 });
  expect(await give(4)).toBe("taken");
});

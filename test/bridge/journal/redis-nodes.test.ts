import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { openRedisCluster } from "../../../bridge/cluster/redis/redis.ts";
import type { Entry, Journal } from "../../../bridge/journal/journal.ts";
import { openRedis } from "../../../platform/redis/connections.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { from, message, positions, range, readAll, state, withId } from "./messages.ts";
import { startReadCutter } from "./read-cutter.ts";
import { createRedisPlace, type RedisPlace } from "./redis-place.ts";

let server: RedisServer;
let place: RedisPlace;

beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.remove());
beforeEach(async () => {
  place = await createRedisPlace(server.url);
});
afterEach(() => place.dispose());

function follow(journal: Journal): Entry[] {
  const followed: Entry[] = [];
  journal.follow((entries) => followed.push(...entries));
  return followed;
}

test("two nodes that append at the same time see the same entries at the same positions", async () => {
  const nodes = await Promise.all([place.openNode(), place.openNode()]);
  const followed = nodes.map(follow);
  const appended = await Promise.all(
    nodes.flatMap((node, index) => range(1, 500).map((seq) => node.append(message(from(`device:${index}`, "s", seq))))),
  );
  expect(appended.map(({ position }) => position).sort((a = 0, b = 0) => a - b)).toEqual(range(1, 1_000));
  await expect.poll(() => nodes.map(({ head }) => head)).toEqual([1_000, 1_000]);
  const [first, second] = followed;
  expect(positions(first ?? [])).toEqual(range(1, 1_000));
  expect(first).toEqual(second);
  expect(await readAll(nodes[1] ?? nodes[0], ["dashboard"])).toEqual(first);
  expect(nodes[0].epoch).toBe(nodes[1].epoch);
});

test("an append resolves after its node's followers have received its entry and all earlier entries of other nodes", async () => {
  const [one, other] = await Promise.all([place.openNode(), place.openNode()]);
  const followed = follow(one);
  for (const turn of range(1, 50)) {
    await other.append(message());
    const { position } = await one.append(message());
    expect(position).toBe(2 * turn);
    expect(positions(followed)).toEqual(range(1, 2 * turn));
  }
});

test("a message that another node has already received is a duplicate", async () => {
  const [one, other] = await Promise.all([place.openNode(), place.openNode()]);
  const again = { position: undefined, duplicate: true };
  await one.append(message(from("device:north", "s", 1)));
  await one.append(message(withId("user:alice", "01J")));
  expect(await other.append(message(from("device:north", "s", 1)))).toEqual(again);
  expect(await other.append(message(withId("user:alice", "01J")))).toEqual(again);
  const same = range(1, 200).map((seq) => message(from("device:south", "s", seq)));
  const twice = await Promise.all(same.flatMap((sent) => [one.append(sent), other.append(sent)]));
  expect(twice.filter(({ duplicate }) => duplicate).length).toBe(200);
  await expect.poll(() => [one.head, other.head]).toEqual([202, 202]);
});

test("state is the same on all nodes, whichever node changed it, also on a node that starts later", async () => {
  const [one, other] = await Promise.all([place.openNode(), place.openNode()]);
  await one.append(state("north", "power"));
  await other.append(state("south", "power"));
  await one.append(state("south", "power", "clear"));
  await other.append(state("north", "power"));
  await expect.poll(() => one.head).toBe(4);
  const late = await place.openNode();
  for (const node of [one, other, late]) expect(positions(node.snapshot("dashboard"))).toEqual([4]);
  expect(late.snapshot("dashboard")).toEqual(one.snapshot("dashboard"));
});

test("all nodes know which entries one node has trimmed", async () => {
  const retention = { retentionEvents: 3 };
  const [one, other] = await Promise.all([place.openNode(retention), place.openNode(retention)]);
  await Promise.all(range(1, 9).map(() => one.append(message())));
  expect(await one.trim()).toBe(6);
  const trimmed = { complete: false, reason: "trimmed", gap: { after: 0, before: 7 } };
  await expect.poll(() => other.recovery("dashboard", { epoch: other.epoch, position: 0 })).toEqual(trimmed);
  expect(positions(await readAll(other, ["dashboard"]))).toEqual([7, 8, 9]);
  expect(await other.trim()).toBe(0);
});

test("a lowered retention limit applies to earlier entries", async () => {
  const before = await place.open();
  await Promise.all(range(1, 50).map(() => before.append(message())));
  const journal = await place.open({ retentionEvents: 5 });
  expect(await journal.trim()).toBe(45);
  expect(positions(await readAll(journal, ["dashboard"]))).toEqual(range(46, 50));
});

test("connections that are closed again and again cause no gap", async () => {
  const [one, other] = await Promise.all([place.openNode(), place.openNode()]);
  const followed = follow(other);
  const admin = place.admin;
  const sent = range(1, 300);
  const accepted: number[] = [];
  for (const seq of sent) {
    if (seq % 20 === 0) await cut(admin, /skylapse-reading/);
    if (seq % 70 === 0) await cut(admin, /skylapse-commands /);
    // Like a camera, sends the message again until it is acknowledged.
    for (;;) {
      try {
        const { position } = await one.append(message(from("device:north", "s", seq)));
        if (position !== undefined) accepted.push(position);
        break;
      } catch (error) {
        expect(error).toMatchObject({ name: "StoreUnavailableError" });
        await ready(one);
      }
    }
  }
  await expect.poll(() => other.head).toBe(sent.length);
  expect(positions(followed)).toEqual(sent);
  expect(followed.map(({ body }) => body)).toEqual((await readAll(one, ["dashboard"])).map(({ body }) => body));
  expect(accepted.length).toBeLessThanOrEqual(sent.length);

  async function cut(connection: typeof admin, name: RegExp): Promise<void> {
    const list = String(await connection.client("LIST"));
    for (const line of list.split("\n")) {
      const id = /^id=(\d+)/.exec(line)?.[1];
      if (id !== undefined && name.test(line)) await connection.client("KILL", "ID", id);
    }
  }
});

test("reads that fail again and again after a node has seen a newer head cause no gap", async () => {
  const cutter = await startReadCutter(Number(new URL(server.url).port));
  const redis = openRedis({
    url: cutter.url,
    prefix: place.prefix.replace(/[{}]|:$/g, ""),
    logger: pino({ level: "silent" }),
  });
  onTestFinished(async () => {
    await redis.close();
    cutter.close();
  });
  const [one, other] = [await place.openNode(), await place.openNode({ redis })];
  const followed = follow(other);
  cutter.cutReads(3);
  for (const seq of range(1, 3)) {
    await one.append(message(from("device:north", "s", seq)));
    await expect.poll(() => other.head).toBeGreaterThanOrEqual(1);
  }
  await expect.poll(() => other.head).toBe(3);
  expect(positions(followed)).toEqual([1, 2, 3]);
  expect(cutter.left()).toBe(0);
});

async function ready(journal: Journal): Promise<void> {
  await expect.poll(() => journal.unavailableReason, { interval: 5 }).toBeUndefined();
}

test("a node that was suspended while the log was trimmed reports a gap and continues", async () => {
  const [one, other] = await Promise.all([place.openNode(), place.openNode()]);
  const followed = follow(other);
  const reset = new Promise<void>((resolve) => other.onReset(() => resolve()));
  const admin = place.admin;
  // Imitates a busy log: seven of eight entries are trimmed before the suspended node reads the first entry.
  const keys = `${place.prefix}journal:`;
  await one.append(message());
  await expect.poll(() => other.head).toBe(1);
  await admin.eval(
    `for i = 2, 9 do
       redis.call('XADD', KEYS[1], i .. '-0', 'h', 'x ' .. i .. ' 0 1 0 y', 'd', '[["t",["dashboard"],0,0,0]]\\n')
       if i < 9 then redis.call('XDEL', KEYS[1], i .. '-0') end
     end
     redis.call('HSET', KEYS[2], 'head', '9', 'stamp', 'x/9/0')
     redis.call('HSET', KEYS[3], 'dashboard', '8')`,
    3,
    `${keys}log`,
    `${keys}meta`,
    `${keys}floors`,
  );
  await reset;
  expect(other.head).toBe(9);
  expect(other.recovery("dashboard", { epoch: other.epoch, position: 1 })).toEqual({
    complete: false,
    reason: "trimmed",
    gap: { after: 1, before: 9 },
  });
  await other.append(message());
  expect(positions(followed)).toEqual([1, 9, 10]);
});

test("a will is refused once its client has connected to another node, and the other messages of the batch are stored", async () => {
  const [one, other] = await Promise.all([place.openNode(), place.openNode()]);
  const { rows } = one.mqtt;
  // The broker loads the rows when it starts.
  for (const { mqtt } of [one, other]) for await (const _ of mqtt.rows.load("session:")) break;
  const listener = { onTaken: () => {}, onLeft: () => {}, onRemoved: () => {}, onWill: () => {} };
  for (const { mqtt } of [one, other]) mqtt.rows.follow(listener);
  await rows.take("north");
  expect(await one.append(message({ willOf: "north" }))).toMatchObject({ position: 1 });
  await other.mqtt.rows.take("north");
  const sent = [one.append(message()), one.append(message({ willOf: "north" })), one.append(message())];
  const results = await Promise.allSettled(sent);
  expect(results).toMatchObject([
    { value: { position: 2 } },
    { reason: { name: "ClientTakenError" } },
    { value: { position: 3 } },
  ]);
  expect(await other.append(message({ willOf: "north" }))).toMatchObject({ position: 4 });
});

/** A publication that only MQTT subscribers get. */
const PLAIN = { topic: "house/light", payload: Buffer.from("on"), qos: 1, retain: true } as const;

test("a message for a task is refused once another node holds the lease of the task, and the other messages of the batch are stored", async () => {
  const journal = await place.openNode();
  const cluster = await openRedisCluster({ redis: place.redis, logger: pino({ level: "silent" }) });
  onTestFinished(() => cluster.stop());
  const former = await cluster.leases.acquire("presence");
  expect(await journal.append(message({ fence: former?.fence }))).toMatchObject({ position: 1 });
  await former?.release();
  const holder = await cluster.leases.acquire("presence");
  const outcomes = await Promise.allSettled([
    journal.append(message()),
    journal.append(message({ fence: former?.fence })),
    journal.append(message({ fence: holder?.fence })),
    journal.append(message({ fence: former?.fence })),
    journal.append(message()),
    journal.mqtt.append({ ...PLAIN, fence: former?.fence }).then((position) => ({ position })),
    journal.mqtt.append({ ...PLAIN, fence: holder?.fence }).then((position) => ({ position })),
  ]);
  expect(
    outcomes.map((outcome) => (outcome.status === "fulfilled" ? outcome.value.position : outcome.reason.name)),
  ).toEqual([2, "LeaseLostError", 3, "LeaseLostError", 4, "LeaseLostError", 5]);
  await holder?.release();
  await expect(journal.append(message({ fence: holder?.fence }))).rejects.toThrow(
    'no longer holds the lease "presence"',
  );
  expect(journal.head).toBe(5);
});

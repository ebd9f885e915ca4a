import { expect, onTestFinished, test } from "vitest";
import type { DeliveredPacket, PropertiedPacket } from "../../../broker/aedes/propertied-packet.ts";
import type { PublishWill } from "../../../broker/sessions/storage.ts";
import { createRedisPlace } from "../../bridge/journal/redis-place.ts";
import { startRedis } from "../../support/redis.ts";
import { levelPlace, openStorage } from "./storage-over-journal.ts";

type Opened = Awaited<ReturnType<typeof open>>;
type Will = Omit<DeliveredPacket, "brokerId" | "brokerCounter"> & { delay: number; expiry?: number };

const ALICE = { identity: "user:alice", permissions: [] };
const START = 1_800_000_000_000;
const KEY = "user:alice\u001fa";
/** Longer than a will that is due waits. */
const PAUSE_MS = 350;

function willAfter(delay: number, more: Partial<Will> = {}): Will {
  const packet = { cmd: "publish" as const, topic: "wills/a", payload: Buffer.from("gone"), qos: 1 as const };
  return { ...packet, retain: false, dup: false, delay, ...more };
}

/** Opens a storage that collects the wills it publishes. */
async function open(
  options: Omit<Parameters<typeof openStorage>[0], "now"> & { clock: { now: number }; publish?: PublishWill },
) {
  const published: PropertiedPacket[] = [];
  const connected = new Set<string>();
  const isConnected = (key: string) => connected.has(key);
  const opened = await openStorage({ ...options, isConnected, now: () => options.clock.now });
  const { publish = async (will) => void published.push(will) } = options;
  opened.storage.startWills(publish);
  return { ...opened, published, connected };
}

/** A client connects, and its connection ends without DISCONNECT. @returns whether its will waits */
async function connectAndBreak(node: Opened, will: Will, expiry?: number): Promise<boolean> {
  const { storage, connected } = node;
  await connect(node, will, expiry);
  const isPostponed = storage.postponeWill({ id: KEY }, will);
  await storage.left(KEY);
  connected.delete(KEY);
  storage.release(KEY);
  return isPostponed;
}

async function connect({ storage, wills, connected }: Opened, will: Will, expiry?: number): Promise<void> {
  connected.add(KEY);
  await storage.keep(KEY, ALICE, expiry);
  await storage.delWill({ id: KEY });
  wills.assign(will, { key: KEY, bearer: ALICE });
  await storage.putWill({ id: KEY }, will);
}

const pause = () => new Promise((resolve) => setTimeout(resolve, PAUSE_MS));

async function rowsOf({ journal }: Pick<Opened, "journal">): Promise<string[]> {
  await journal.mqtt.rows.flush();
  const rows: string[] = [];
  for await (const [key] of journal.mqtt.rows.load("will:")) rows.push(key);
  return rows;
}

test("a will is published when its delay has passed, with its properties and its own expiry [MQTT-3.1.2-8]", async () => {
  const clock = { now: START };
  const node = await open({ clock });
  const stored = { properties: Buffer.from([1, 2, 3]) };
  expect(await connectAndBreak(node, willAfter(30, { stored, expiry: 60, retain: true }))).toBe(true);
  clock.now += 29_999;
  await pause();
  expect(node.published).toEqual([]);
  clock.now += 1;
  await expect.poll(() => node.published.length).toBe(1);
  expect(node.published[0]).toMatchObject({
    ...{ topic: "wills/a", payload: Buffer.from("gone"), qos: 1, retain: true },
    stored: { ...stored, publisher: KEY, expiresAt: START + 30_000 + 60_000 },
  });
  expect(await rowsOf(node)).toEqual([]);
});

test("a will is not published when its client connects again before the delay has passed [MQTT-3.1.3-9]", async () => {
  const clock = { now: START };
  const node = await open({ clock });
  await connectAndBreak(node, willAfter(30));
  clock.now += 20_000;
  const newer = willAfter(30, { payload: Buffer.from("newer") });
  await connect(node, newer);
  clock.now += 20_000;
  await pause();
  expect(node.published).toEqual([]);
  // The end of a connection that the client has replaced.
  expect(node.storage.postponeWill({ id: KEY }, willAfter(30))).toBe(true);
  clock.now += 60_000;
  await pause();
  expect(node.published).toEqual([]);
  expect(await rowsOf(node)).toEqual([`will:${KEY}`]);
});

test("a will waits for the session's end when that is before the end of the delay, and not at all without a session", async () => {
  const clock = { now: START };
  const node = await open({ clock });
  expect(await connectAndBreak(node, willAfter(30), 0)).toBe(false);
  expect(await connectAndBreak(node, willAfter(0))).toBe(false);
  await connectAndBreak(node, willAfter(3_600, { payload: Buffer.from("expired") }), 10);
  clock.now += 10_000;
  await expect.poll(() => node.published.length).toBe(1);
  await connectAndBreak(node, willAfter(3_600, { payload: Buffer.from("discarded") }));
  await node.storage.discard(KEY);
  await expect.poll(() => node.published.map(({ payload }) => String(payload))).toEqual(["expired", "discarded"]);
});

test("a will of a connection whose session was discarded by a newer one is due at once, despite its delay", async () => {
  const node = await open({ clock: { now: START } });
  const will = willAfter(30);
  await connect(node, will);
  await node.storage.discard(KEY);
  await connect(node, willAfter(30));
  expect(node.storage.postponeWill({ id: KEY }, will)).toBe(false);
});

test("a delay goes on over a restart, and begins after four heartbeats at least when the server was killed", async () => {
  const clock = { now: START };
  const openJournal = levelPlace();
  const first = await open({ clock, openJournal });
  await connectAndBreak(first, willAfter(30));
  // A server that stops begins and ends no delay.
  first.storage.stopWills();
  clock.now += 60_000;
  await pause();
  expect(first.published).toEqual([]);
  await first.close();
  const second = await open({ clock, openJournal });
  await expect.poll(() => second.published.length).toBe(1);
  await connect(second, willAfter(2));
  await second.close();

  const third = await open({ clock, openJournal });
  clock.now += 3_999;
  await pause();
  expect(third.published).toEqual([]);
  clock.now += 1;
  await expect.poll(() => third.published.length).toBe(1);
  expect(await rowsOf(third)).toEqual([]);
});

test("a will that could not be published stays stored, and is published later", async () => {
  const clock = { now: START };
  let tries = 0;
  const node: Opened = await open({
    clock,
    publish: async (will) => {
      if (tries++ === 0) node.wills.keep(will);
    },
  });
  await connectAndBreak(node, willAfter(1));
  clock.now += 1_000;
  await expect.poll(() => tries).toBe(1);
  expect(await rowsOf(node)).toEqual([`will:${KEY}`]);
  clock.now += 10_000;
  await expect.poll(() => tries).toBe(2);
  await expect.poll(() => rowsOf(node)).toEqual([]);
});

test("with two nodes, a delay goes on at the other node when a node ends, and ends when its client connects there", async () => {
  const server = await startRedis();
  onTestFinished(() => server.remove());
  const place = await createRedisPlace(server.url);
  onTestFinished(() => place.dispose());
  const clock = { now: START };
  const openJournal = (now: () => number) => place.openNode({ now, waits: { heartbeatMs: 50 } });
  const [one, two] = [await open({ clock, openJournal }), await open({ clock, openJournal })];
  await connectAndBreak(one, willAfter(30));
  await connect(two, willAfter(30));
  clock.now += 30_000;
  await pause();
  expect([one.published, two.published]).toEqual([[], []]);

  const will = willAfter(40);
  two.connected.delete(KEY);
  await connectAndBreak(one, will);
  await one.close();
  clock.now += 39_000;
  await pause();
  expect(two.published).toEqual([]);
  clock.now += 1_000;
  await expect.poll(() => two.published.length).toBe(1);

  // A client that discards its session at another node ends the delay.
  const three = await open({ clock, openJournal });
  await connectAndBreak(two, willAfter(3_600));
  await three.storage.discard(KEY);
  await expect.poll(() => three.published.length).toBe(1);
  expect(two.published).toHaveLength(1);
});

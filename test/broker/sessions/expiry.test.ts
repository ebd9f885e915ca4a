import { expect, it, onTestFinished } from "vitest";
import { createRedisPlace } from "../../bridge/journal/redis-place.ts";
import { startRedis } from "../../support/redis.ts";
import { levelPlace, openStorage } from "./storage-over-journal.ts";

const ALICE = { identity: "user:alice", permissions: [] };
const DAY_MS = 86_400_000;

it("the session store keeps a session whose client reconnects while other sessions are being discarded", async () => {
  let now = 0;
  const { storage } = await openStorage({ now: () => now });
  for (const key of ["a", "b"]) await storage.keep(key, ALICE);
  now = 1000;
  const expiring = storage.expire(500, () => false);
  await storage.keep("b", ALICE);
  expect(await expiring).toBe(1);
  expect(storage.ownerOf("a")).toBeUndefined();
  expect(storage.ownerOf("b")).toMatchObject({ identity: "user:alice" });
});

it("a session with an expiry interval ends when the interval has passed since its client disconnected [MQTT-3.1.2-23]", async () => {
  let now = DAY_MS;
  const { storage } = await openStorage({ now: () => now });
  expect(await storage.keep("a", ALICE, 60)).toEqual({ isResumed: false });
  now += 90_000;
  expect(await storage.expire(0, () => false)).toBe(0);
  await storage.left("a");
  now += 59_999;
  expect(await storage.expire(0, () => false)).toBe(0);
  expect(await storage.keep("a", ALICE, 60)).toEqual({ isResumed: true });
  await storage.left("a");
  now += 60_000;
  // Although nothing has looked for expired sessions.
  expect(await storage.keep("a", ALICE, 60)).toEqual({ isResumed: false });
  await storage.left("a");
  now += 60_000;
  expect(await storage.expire(0, () => false)).toBe(1);
});

it("a session with the expiry interval 0 ends with its connection, also when DISCONNECT has set it", async () => {
  const { storage } = await openStorage({ now: () => 0 });
  await storage.keep("a", ALICE, 0);
  await storage.keep("b", ALICE, 3_600);
  storage.setExpiry("b", 0);
  for (const key of ["a", "b"]) await storage.left(key);
  expect(storage.sessions).toBe(0);
});

it("a session without an expiry interval, or with one that is longer than the server's limit, ends by the server's limit", async () => {
  const now = DAY_MS;
  const { storage } = await openStorage({ now: () => now });
  await storage.keep("a", ALICE);
  await storage.keep("b", ALICE, 10 * 86_400);
  for (const key of ["a", "b"]) await storage.left(key);
  expect(await storage.expire(now, () => false)).toBe(0);
  expect(await storage.expire(now + 1, () => false)).toBe(2);
});

it("an expiry interval goes on over a restart, and begins at the restart when the server was killed before", async () => {
  let now = DAY_MS;
  const openJournal = levelPlace();
  const first = await openStorage({ now: () => now, openJournal });
  for (const [key, expiry] of [
    ["left", 60],
    ["killed", 60],
    ["ended", 0],
  ] as const)
    await first.storage.keep(key, ALICE, expiry);
  await first.storage.left("left");
  await first.close();
  now += 30_000;
  const second = await openStorage({ now: () => now, openJournal });
  expect(await second.storage.expire(0, () => false)).toBe(1);
  expect(second.storage.ownerOf("ended")).toBeUndefined();
  now += 30_000;
  expect(await second.storage.expire(0, () => false)).toBe(1);
  expect(second.storage.ownerOf("left")).toBeUndefined();
  now += 30_000;
  expect(await second.storage.expire(0, () => false)).toBe(1);
});

it("with two nodes, an expiry interval counts at each node, and begins at another node when a node ends before its client", async () => {
  const server = await startRedis();
  onTestFinished(() => server.remove());
  const place = await createRedisPlace(server.url);
  onTestFinished(() => place.dispose());
  let now = DAY_MS;
  const connected = new Set<string>();
  const openNode = (name: string) =>
    openStorage({
      now: () => now,
      openJournal: (clock) => place.openNode({ now: clock, waits: { heartbeatMs: 50 } }),
      isConnected: (key) => connected.has(`${name} ${key}`),
    });
  const [one, two] = [await openNode("one"), await openNode("two")];
  const leave = async (node: typeof one, name: string) => {
    await node.storage.left("a");
    connected.delete(`${name} a`);
    node.storage.release("a");
    await expect.poll(() => node.journal.mqtt.rows.writerOf("a")).toBe("nobody");
  };
  connected.add("one a");
  expect(await one.storage.keep("a", ALICE, 60)).toEqual({ isResumed: false });
  await leave(one, "one");
  now += 59_999;
  connected.add("two a");
  expect(await two.storage.keep("a", ALICE, 60)).toEqual({ isResumed: true });
  await leave(two, "two");
  now += 60_000;
  await expect.poll(() => one.journal.mqtt.rows.writerOf("a")).toBe("nobody");
  connected.add("one a");
  expect(await one.storage.keep("a", ALICE, 60)).toEqual({ isResumed: false });

  // The node ends while the client is connected.
  now += 1_000_000;
  await one.close();
  await expect.poll(() => two.journal.mqtt.rows.writerOf("a")).toBe("nobody");
  now += 59_999;
  expect(await two.storage.expire(0, () => false)).toBe(0);
  now += 1;
  expect(await two.storage.expire(0, () => false)).toBe(1);
});

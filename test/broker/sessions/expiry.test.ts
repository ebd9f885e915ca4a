import { expect, it } from "vitest";
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

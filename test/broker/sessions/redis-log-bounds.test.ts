import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { LogSessionsOptions } from "../../../broker/sessions/log-sessions.ts";
import { createRedisPlace, type RedisPlace } from "../../bridge/journal/redis-place.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { drain, openSessions } from "./sessions-over-journal.ts";

const OWNER = { identity: "user:alice", permissions: ["dashboard:read"] };
const COUNT = 300;
const HOUR_MS = 3_600_000;

type Node = Awaited<ReturnType<typeof openNode>>;

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

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

function openNode(options: Partial<LogSessionsOptions>) {
  const waits = { heartbeatMs: 50 };
  return openSessions("", { ...options, openJournal: (now) => place.openNode({ now, waits }) });
}

/** The session of a client that has connected to the node and disconnected. */
async function createSession({ log, sessions }: Node, key: string, filter: string): Promise<void> {
  await log.rows.take(key);
  sessions.subscribe(sessions.keep(key, OWNER), filter, { qos: 1 });
  await sessions.flush();
  log.rows.release(key);
  await expect.poll(() => log.rows.writerOf(key)).toBe("nobody");
}

/** @returns what the client gets when it connects to the node */
async function connect({ log, sessions }: Node, key: string): Promise<number[]> {
  const taken = await log.rows.take(key);
  if (taken?.isNewest === false) sessions.replace(key, taken.session);
  const session = sessions.get(key);
  if (session === undefined) throw new Error("the session is lost");
  return (await drain(session, log.publications.head)).map((payload) => Number.parseInt(payload, 10));
}

async function publish({ log }: Node, from: number, to: number, topicOf = (_: number) => "cameras/c1/events/x") {
  for (let first = from; first <= to; first += 20)
    await Promise.all(
      numbers(first, Math.min(to, first + 19)).map((n) =>
        log.append({ topic: topicOf(n), payload: Buffer.from(`${n} `.padEnd(1_000, "x")), qos: 1, retain: false }),
      ),
    );
}

test("with two nodes, a session that wants little holds only what it wants, and gets all of it at either node", async () => {
  const limit = { maxOfflineLogBytes: 600_000 };
  const [one, two] = [await openNode(limit), await openNode(limit)];
  await createSession(one, "few", "cameras/c2/#");
  await expect.poll(() => two.sessions.get("few")).toBeDefined();
  const isWanted = (n: number) => n % 50 === 1;
  const topicOf = (n: number) => (isWanted(n) ? "cameras/c2/events/x" : "cameras/c1/events/x");
  await publish(two, 1, COUNT, topicOf);
  for (const { sessions } of [one, two]) await expect.poll(() => sessions.bounds.bytes).toBeLessThan(100_000);
  for (const { log } of [one, two]) expect(log.publications.bytes).toBeLessThan(300_000);
  expect([one.sessions.bounds.dropped, two.sessions.bounds.dropped]).toEqual([0, 0]);
  expect(await connect(two, "few")).toEqual(numbers(1, COUNT).filter(isWanted));
  await Promise.all([one.close(), two.close()]);
});

test("messages go when they are too old, also after a restart of all nodes", async () => {
  let time = 1_800_000_000_000;
  const options = { now: () => time, maxOfflineHours: 5 };
  const first = await openNode(options);
  await createSession(first, "a", "cameras/#");
  for (let hour = 0; hour < 4; hour++) {
    await publish(first, hour * 10 + 1, hour * 10 + 10);
    time += 2 * HOUR_MS;
  }
  // The first ten are 8 hours old, the second 6, the third 4.
  await expect.poll(() => first.sessions.bounds.dropped).toBe(20);
  await first.close();
  const second = await openNode(options);
  time += 2 * HOUR_MS;
  await expect.poll(() => second.sessions.bounds.dropped).toBe(10);
  expect(await connect(second, "a")).toEqual(numbers(31, 40));
  await second.close();
});

test("the oldest messages go at both nodes when the log is too large, and one node counts them", async () => {
  const limit = { maxOfflineLogBytes: 200_000 };
  const [one, two] = [await openNode(limit), await openNode(limit)];
  await createSession(one, "all", "cameras/#");
  await expect.poll(() => two.sessions.get("all")).toBeDefined();
  await publish(two, 1, 400);
  await expect.poll(() => one.log.publications.floor).toBeGreaterThan(180);
  // Until both nodes have moved the session to the same place, the node of the client may be ahead of the counting node.
  const places = () => [one, two].map(({ sessions }) => sessions.get("all")?.cursor.floor);
  await expect.poll(() => new Set([...places(), one.log.publications.floor]).size).toBe(1);
  const got = await connect(two, "all");
  expect(got).toEqual(numbers(got[0] ?? 0, 400));
  expect(got.length).toBeGreaterThan(100);
  expect(one.sessions.bounds.dropped + two.sessions.bounds.dropped).toBe(400 - got.length);
  await Promise.all([one.close(), two.close()]);
});

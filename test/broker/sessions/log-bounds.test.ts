import { cpSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { MqttLog } from "../../../platform/publication-log.ts";
import { asLeftBehind } from "../../bridge/journal/level-place.ts";
import { temporaryFolder } from "../broker-under-test.ts";
import { drain, openSessions } from "./sessions-over-journal.ts";

const OWNER = { identity: "user:alice", permissions: ["dashboard:read"] };
const HOUR_MS = 3_600_000;

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);
const numbersOf = (payloads: readonly string[]) => payloads.map((payload) => Number.parseInt(payload, 10));

async function publish(log: MqttLog, from: number, to: number, topicOf = (_: number) => "cameras/c1/events/x") {
  for (let first = from; first <= to; first += 20)
    await Promise.all(
      numbers(first, Math.min(to, first + 19)).map((n) =>
        log.append({ topic: topicOf(n), payload: Buffer.from(`${n} `.padEnd(1_000, "x")), qos: 1, retain: false }),
      ),
    );
}

async function heldBy({ publications }: MqttLog): Promise<number[]> {
  const held: string[] = [];
  for (let after = 0; after < publications.head; ) {
    const page = await publications.scan(after);
    held.push(...page.publications.map(({ payload }) => payload.toString()));
    after = page.next;
  }
  return numbersOf(held);
}

function keepAll(sessions: Awaited<ReturnType<typeof openSessions>>["sessions"], filters: Record<string, string>) {
  for (const [key, filter] of Object.entries(filters))
    sessions.subscribe(sessions.keep(key, OWNER), filter, { qos: 1 });
  return sessions.flush();
}

test("the oldest messages go when the log is too large, each session is told once, and all losses are counted", async () => {
  const path = join(temporaryFolder(), "journal");
  const logged: string[] = [];
  const limit = { maxOfflineLogBytes: 200_000, logged };
  const first = await openSessions(path, limit);
  await keepAll(first.sessions, { a: "cameras/#", b: "cameras/#", few: "cameras/c2/#", none: "other/#" });
  await publish(first.log, 1, 400, (n) => (n % 100 === 1 ? "cameras/c2/events/x" : "cameras/c1/events/x"));
  await expect.poll(() => first.sessions.bounds.dropped).toBeGreaterThan(0);
  await expect.poll(async () => (await heldBy(first.log)).length).toBeLessThan(200);
  const { dropped } = first.sessions.bounds;
  const held = await heldBy(first.log);
  expect(held).toEqual(numbers(held[0] ?? 0, 400));
  const lost = (held[0] ?? 0) - 1;
  expect(dropped).toBe(2 * lost + numbers(1, lost).filter((n) => n % 100 === 1).length);
  const warnings = () => logged.filter((line) => line.includes("too large or too old: oldest messages dropped"));
  expect(warnings()).toHaveLength(3);
  expect(first.sessions.bounds.totals.messages).toBe(2 * held.length + held.filter((n) => n % 100 === 1).length);
  // As after kill -9.
  const image = join(temporaryFolder(), "journal");
  cpSync(path, image, { recursive: true });
  await asLeftBehind(image);
  await first.close();
  const second = await openSessions(image, { maxOfflineLogBytes: 60_000 });
  await expect.poll(async () => (await heldBy(second.log)).length).toBeLessThan(60);
  const left = await heldBy(second.log);
  expect(left).toEqual(numbers(left[0] ?? 0, 400));
  expect(left.length).toBeGreaterThan(40);
  const a = second.sessions.get("a");
  if (a === undefined) throw new Error("the session is lost");
  expect(numbersOf(await drain(a, second.log.publications.head))).toEqual(left);
  await second.close();
});

test("messages go when they are too old, also after a restart", async () => {
  const path = join(temporaryFolder(), "journal");
  let time = 1_800_000_000_000;
  const options = { now: () => time, maxOfflineHours: 5 };
  const first = await openSessions(path, options);
  await keepAll(first.sessions, { a: "cameras/#" });
  for (let hour = 0; hour < 4; hour++) {
    await publish(first.log, hour * 10 + 1, hour * 10 + 10);
    time += 2 * HOUR_MS;
  }
  // The first ten are 8 hours old, the second 6, the third 4.
  await expect.poll(() => first.sessions.bounds.dropped).toBe(20);
  await first.close();
  const second = await openSessions(path, options);
  time += 2 * HOUR_MS;
  await expect.poll(() => second.sessions.bounds.dropped).toBe(10);
  const a = second.sessions.get("a");
  if (a === undefined) throw new Error("the session is lost");
  expect(numbersOf(await drain(a, second.log.publications.head))).toEqual(numbers(31, 40));
  await second.close();
});

test("a session that wants little holds only what it wants, and gets it, also what it has not acknowledged", async () => {
  const path = join(temporaryFolder(), "journal");
  const limit = { maxOfflineLogBytes: 800_000 };
  const first = await openSessions(path, limit);
  await keepAll(first.sessions, { few: "cameras/c2/#" });
  const few = first.sessions.get("few");
  if (few === undefined) throw new Error("the session is lost");
  const topicOf = (n: number) => (n % 50 === 1 ? "cameras/c2/events/x" : "cameras/c1/events/x");
  const sent: number[] = [];
  const connection = {
    ...{ isFull: false, mayReceive: () => true },
    send: ({ position }: { position: number }) => sent.push(position),
  };
  const silent = {
    ...connection,
    send: ({ publication }: { publication: { position: number } }) => void sent.push(publication.position),
  };
  few.cursor.connect(silent);
  few.cursor.start(silent);
  await publish(first.log, 1, 100, topicOf);
  expect(sent).toEqual([1, 51]);
  few.cursor.disconnect(silent);
  await publish(first.log, 101, 400, topicOf);
  await expect.poll(async () => (await heldBy(first.log)).length).toBeLessThanOrEqual(200);
  await first.close();
  const second = await openSessions(path, limit);
  await publish(second.log, 401, 700, topicOf);
  await expect.poll(async () => (await heldBy(second.log)).length).toBeLessThanOrEqual(200);
  const restored = second.sessions.get("few");
  if (restored === undefined) throw new Error("the session is lost");
  const wanted = numbers(1, 700).filter((n) => n % 50 === 1);
  expect(restored.cursor.floor).toBe(0);
  expect(numbersOf(await drain(restored, second.log.publications.head))).toEqual(wanted);
  expect(second.sessions.bounds.dropped).toBe(0);
  await second.close();
});

test("what a client has not acknowledged is counted when the log gives it up, and the session continues", async () => {
  const path = join(temporaryFolder(), "journal");
  const { log, sessions, close } = await openSessions(path, { maxOfflineLogBytes: 200_000 });
  await keepAll(sessions, { a: "cameras/#" });
  const a = sessions.get("a");
  if (a === undefined) throw new Error("the session is lost");
  const silent = { isFull: false, mayReceive: () => true, send: () => {} };
  a.cursor.connect(silent);
  a.cursor.start(silent);
  await publish(log, 1, 5);
  expect(a.cursor.open).toBe(5);
  a.cursor.disconnect(silent);
  await publish(log, 6, 400);
  await expect.poll(async () => (await heldBy(log)).length).toBeLessThan(200);
  const held = await heldBy(log);
  expect(sessions.bounds.dropped).toBe((held[0] ?? 0) - 1);
  expect(a.cursor.open).toBe(0);
  expect(numbersOf(await drain(a, log.publications.head))).toEqual(held);
  await close();
});

test("when many sessions change at once, their rows are written by and by, those that changed first before the others", async () => {
  const { sessions, log, close } = await openSessions(join(temporaryFolder(), "journal"));
  const keys = numbers(1, 200).map((n) => `s${n}`);
  for (const key of keys) sessions.keep(key, OWNER);
  await sessions.flush();
  const written: string[] = [];
  const together: number[] = [];
  const set = log.rows.set.bind(log.rows);
  log.rows.set = (key, value) => {
    if (together.length === 0) queueMicrotask(() => together.splice(0));
    together.push(written.push(key));
    expect(together.length).toBeLessThanOrEqual(64);
    set(key, value);
  };
  for (const session of sessions.entries()) sessions.touch(session);
  await expect
    .poll(
      async () => {
        await publish(log, 1, 1);
        return written.length;
      },
      { interval: 5 },
    )
    .toBe(200);
  expect(written).toEqual(keys.map((key) => `session:${key}`));
  await close();
});

test("publications are stored while there are sessions only, and a new session gets everything after its SUBSCRIBE", async () => {
  const path = join(temporaryFolder(), "journal");
  const logged: string[] = [];
  const { sessions, log, close } = await openSessions(path);
  let followed = 0;
  log.publications.follow((publications) => {
    followed += publications.length;
  });
  await publish(log, 1, 50);
  expect([followed, await heldBy(log)]).toEqual([50, []]);
  let next = 51;
  const publishUntil = async (end: () => boolean) => {
    while (!end()) await publish(log, next, next++);
  };
  let isSubscribed = false;
  const publishing = publishUntil(() => isSubscribed);
  const session = sessions.keep("a", OWNER);
  await sessions.store("a");
  sessions.subscribe(session, "cameras/#", { qos: 1 });
  const subscribedAt = next;
  await sessions.store("a");
  isSubscribed = true;
  await publishing;
  await publishUntil(() => next === subscribedAt + 60);
  // As after kill -9.
  const image = join(temporaryFolder(), "journal");
  cpSync(path, image, { recursive: true });
  await asLeftBehind(image);
  const again = await openSessions(image, { logged });
  const received = numbersOf(await drain(again.sessions.get("a") ?? session, again.log.publications.head));
  expect(received[0]).toBeGreaterThan(50);
  expect(received[0]).toBeLessThanOrEqual(subscribedAt);
  expect(received).toEqual(numbers(received[0] ?? 0, next - 1));
  expect([again.missed, logged]).toEqual([[], []]);
  await again.close();

  sessions.keep("b", OWNER);
  await sessions.remove("a");
  await publish(log, 1_001, 1_001);
  expect(await heldBy(log)).toContain(1_001);
  await sessions.remove("b");
  await publish(log, 1_002, 1_002);
  expect(await heldBy(log)).not.toContain(1_002);
  await close();
});

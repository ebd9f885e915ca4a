import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { from, message, positions, range, readAll, state, withId } from "./messages.ts";
import { mqttOf, readLog } from "./mqtt-log-suite.ts";
import { createRedisPlace, type RedisPlace } from "./redis-place.ts";

const HOUR_MS = 3_600_000;

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

const publish = { payload: Buffer.from("p"), qos: 1 as const, retain: false };

async function keys(): Promise<string[]> {
  const all = await place.admin.keys("*");
  // Excludes the keys of earlier tests, which used the same Redis.
  return all.filter((key) => key.startsWith(place.prefix) || !key.startsWith("{test-")).sort();
}

/** The number of commands that Redis has executed, including commands in scripts. */
async function calls(name = "[a-z]+"): Promise<number> {
  const stats = await place.admin.info("commandstats");
  const found = stats.matchAll(new RegExp(`^cmdstat_${name}(?:\\|[a-z-]+)?:calls=(\\d+)`, "gm"));
  return [...found].reduce((sum, [, count]) => sum + Number(count), 0);
}

async function exercise(journal: Journal): Promise<void> {
  await Promise.all([
    ...range(1, 300).map((seq) => journal.append(message({ ...from("device:north", "s", seq), publish }))),
    ...range(1, 20).map((n) => journal.append(message(withId("user:alice", `${n}`)))),
    ...range(1, 20).map((n) => journal.append(state(`c${n}`, "power"))),
    journal.append(message({ channels: [] })),
  ]);
}

test("every key begins with the prefix", async () => {
  const journal = await place.open();
  await exercise(journal);
  await journal.trim();
  const found = await keys();
  expect(found.length).toBeGreaterThan(10);
  expect(found.filter((key) => !/^(journal:|members(:|$))/.test(key.replace(place.prefix, "")))).toEqual([]);
});

test("the state of 10,000 cameras is loaded completely, in few steps", async () => {
  const journal = await place.open();
  await Promise.all(range(1, 10_000).map((n) => journal.append(state(`c${n}`, "power"))));
  const before = await calls();
  const other = await place.openNode();
  // Counts commands, not time, which depends on the machine.
  expect((await calls()) - before).toBeLessThan(500);
  expect(other.snapshot("dashboard")).toEqual(journal.snapshot("dashboard"));
  expect(other.snapshot("dashboard").length).toBe(10_000);
  expect(positions(other.snapshot("camera:c5000"))).toEqual([5_000]);
});

test("a node that is opened during appends has every entry once", async () => {
  const journal = await place.open();
  const appends = Promise.all(range(1, 6_000).map((n) => journal.append(state(`c${n % 50}`, "power"))));
  const late = await Promise.all(range(1, 3).map(() => place.openNode()));
  await appends;
  await expect.poll(() => late.map(({ head }) => head)).toEqual([6_000, 6_000, 6_000]);
  for (const node of late) expect(node.snapshot("dashboard")).toEqual(journal.snapshot("dashboard"));
});

test("retention leaves no rows of removed entries behind", async () => {
  let now = 1_000 * HOUR_MS;
  const journal = await place.open({ now: () => now, limits: { maxLingeringBytes: 0 } });
  await exercise(journal);
  for (const position of range(1, journal.head)) journal.finished(position);
  now += 25 * HOUR_MS;
  expect(await journal.trim()).toBe(journal.head);
  // The remaining keys hold positions, floors, sequence numbers and state, and what is kept for MQTT subscribers.
  const lasting = ["floors", "kept", "meta", "trims", "estates", "senders", "state"];
  lasting.push("mqtt-masters", "mqtt-taken", "publications", "publication-floors");
  const sessions = ["sessions:device:north", "sessions-used:device:north"];
  await expect
    .poll(async () => (await keys()).filter((key) => !key.startsWith(`${place.prefix}members`)))
    .toEqual([...lasting, ...sessions, "log"].map((name) => `${place.prefix}journal:${name}`).sort());
  expect(await place.admin.xlen(`${place.prefix}journal:log`)).toBe(0);
});

test("chunks that no channel keeps stay in Redis for nodes that have not read them yet, for a time and up to a size", async () => {
  const log = `${place.prefix}journal:log`;
  const redis = place.admin;
  const maxLingeringBytes = 1_000;
  const journal = await place.open({ retentionEvents: 1, limits: { maxLingeringBytes } });
  for (const _ of range(1, 20)) await journal.append(message());
  await journal.trim();
  const chunks = await redis.xrange(log, "-", "+");
  const sizes = chunks.slice(0, -1).map(([, fields]) => fields[3]?.length ?? 0);
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  expect(bytes).toBeLessThanOrEqual(maxLingeringBytes);
  expect(bytes).toBeGreaterThan(maxLingeringBytes - 2 * (sizes[0] ?? 0));
  expect(positions(await readAll(journal, ["dashboard"]))).toEqual([20]);
  await (await place.open({ retentionEvents: 1, limits: { lingeringMs: 0 } })).trim();
  expect(await redis.xlen(log)).toBe(1);
});

test("trimming many entries takes many short steps", async () => {
  const keeping = await place.open({ retentionEvents: 100_000 });
  await Promise.all(range(1, 20_000).map(() => keeping.append(message())));
  const before = await calls("evalsha");
  const journal = await place.open({ retentionEvents: 10 });
  await journal.trim();
  // Counts commands, not time, which depends on the machine.
  expect((await calls("evalsha")) - before).toBeGreaterThanOrEqual(10);
  expect(positions(await readAll(journal, ["dashboard"]))).toEqual(range(19_991, 20_000));
});

test("sessions beyond the limit are evicted, the least recently used first", async () => {
  const journal = await place.open({ limits: { maxSessions: 3 } });
  for (const boot of ["a", "b", "c"]) await journal.append(message(from("device:north", boot, 1)));
  await journal.append(message(from("device:north", "a", 2)));
  await journal.append(message(from("device:north", "d", 1)));
  for (const boot of ["a", "c", "d"])
    expect(await journal.append(message(from("device:north", boot, 1)))).toMatchObject({ duplicate: true });
  expect(await journal.append(message(from("device:north", "b", 1)))).toMatchObject({ duplicate: false });
});

test("when the journal is lost, the sessions of its senders are deleted", async () => {
  const one = message(from("device:north", "s", 1));
  await (await place.open()).append(one);
  await place.admin.del(`${place.prefix}journal:meta`);
  const journal = await place.open();
  expect((await keys()).filter((key) => /:(?:sessions|senders)/.test(key))).toEqual([]);
  expect(await journal.append(one)).toEqual({ position: 1, duplicate: false });
});

test("ranges of sequence numbers beyond the limit are evicted, the lowest first", async () => {
  const journal = await place.open({ limits: { maxSeqRanges: 3 } });
  for (const seq of [2, 4, 6, 8]) await journal.append(message(from("device:north", "s", seq)));
  for (const seq of [4, 6, 8])
    expect(await journal.append(message(from("device:north", "s", seq)))).toMatchObject({ duplicate: true });
  expect(await journal.append(message(from("device:north", "s", 2)))).toMatchObject({ duplicate: false });
});

test("sequence numbers are exact up to the largest safe integer", async () => {
  const journal = await place.open();
  const largest = Number.MAX_SAFE_INTEGER;
  for (const seq of [largest - 2, largest, largest - 1])
    expect(await journal.append(message(from("device:north", "s", seq)))).toMatchObject({ duplicate: false });
  for (const seq of [largest, largest - 1, largest - 2])
    expect(await journal.append(message(from("device:north", "s", seq)))).toMatchObject({ duplicate: true });
  expect(await journal.append(message(from("device:north", "s", largest - 3)))).toMatchObject({ duplicate: false });
});

test("a channel beyond the limit is rejected, and empty channels are removed for new channels", async () => {
  let now = 1_000 * HOUR_MS;
  const journal = await place.open({ now: () => now, limits: { maxChannels: 4 } });
  const append = (name: string) => journal.append(message({ channels: [`camera:${name}`] }));
  for (const name of ["a", "b", "c", "d"]) await append(name);
  await expect(append("e")).rejects.toThrow(/already has 4 channels/);
  expect(await append("a")).toEqual({ position: 5, duplicate: false });
  now += 25 * HOUR_MS;
  await journal.trim();
  expect(await append("e")).toEqual({ position: 6, duplicate: false });
  // The journal cannot exclude that a removed channel had this name, so it reports no complete recovery.
  expect(journal.recovery("camera:new", { epoch: journal.epoch, position: 1 })).toMatchObject({ reason: "trimmed" });
  const again = await place.open({ now: () => now, limits: { maxChannels: 4 } });
  expect(again.recovery("camera:new", { epoch: again.epoch, position: 1 })).toMatchObject({ reason: "trimmed" });
  expect(again.recovery("camera:e", { epoch: again.epoch, position: 5 })).toEqual({ complete: true });
});

test("a message with too many channels is rejected with its topic", async () => {
  const journal = await place.open();
  const channels = range(1, 121).map((n) => `camera:c${n}`);
  await expect(journal.append(message({ channels }))).rejects.toThrow(/121 channels, but at most 120/);
  await journal.append(message({ channels: channels.slice(1) }));
  await journal.trim();
  expect(positions(await readAll(journal, ["camera:c121"]))).toEqual([1]);
});

test("topics beyond the limit have no state, but their events are stored, and the log has a warning", async () => {
  const limits = { maxStateTopics: 2 };
  const journal = await place.open({ limits });
  for (const camera of ["a", "b", "c"]) await journal.append(state(camera, "power"));
  await journal.append(state("a", "power"));
  expect(positions(journal.snapshot("dashboard"))).toEqual([2, 4]);
  const again = await place.open({ limits });
  expect(positions(again.snapshot("dashboard"))).toEqual([2, 4]);
  expect(positions(await readAll(again, ["camera:c"]))).toEqual([3]);
  expect(place.logged.join()).toMatch(/too many retained topics/);
});

test("appends beyond the limit of waiting appends are rejected", async () => {
  const journal = await place.open({ limits: { maxWaitingEntries: 10 } });
  const results = await Promise.allSettled(range(1, 15).map(() => journal.append(message())));
  expect(results.map(({ status }) => status)).toEqual([
    ...range(1, 10).map(() => "fulfilled"),
    ...range(1, 5).map(() => "rejected"),
  ]);
  expect(await journal.append(message())).toEqual({ position: 11, duplicate: false });
  const narrow = await place.open({ limits: { maxWaitingBytes: 100 } });
  const body = `"x":"${"y".repeat(200)}"`;
  const [first, second] = await Promise.allSettled([
    narrow.append(message({ body })),
    narrow.append(message({ body })),
  ]);
  expect(first.status).toBe("fulfilled");
  expect(second).toMatchObject({ reason: { name: "StoreUnavailableError" } });
});

test("bodies and payloads of any size are read back unchanged", async () => {
  const journal = await place.open({ limits: { maxRecentChars: 0, maxGroupBytes: 50_000 } });
  const bodies = [1, 1_000, 40_000, 250_000, 5].map((length) => `"x":"${"é🏔\n".repeat(length / 3 + 1)}"`);
  const payload = Buffer.alloc(250_000, 255);
  await Promise.all(bodies.map((body) => journal.append(message({ body, publish: { ...publish, payload } }))));
  expect((await readAll(journal, ["dashboard"])).map(({ body }) => body)).toEqual(bodies);
  const again = await place.open();
  const { read } = await readLog(mqttOf(again).publications);
  expect(read.length).toBe(5);
  for (const one of read) expect(one.payload.equals(payload)).toBe(true);
});

import { join } from "node:path";
import { ClassicLevel } from "classic-level";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Journal, Publication } from "../../../bridge/journal/journal.ts";
import { openDatabase } from "../../../platform/level/database.ts";
import { Store } from "../../../platform/level/store.ts";
import { WriteSet } from "../../../platform/level/write-set.ts";
import type { LoggedPublication, MqttLog, PublicationLog, PublicationPage } from "../../../platform/publication-log.ts";
import { createLevelPlace, type LevelPlace } from "./level-place.ts";
import { message, range } from "./messages.ts";

let place: LevelPlace;
let journal: Journal;
let mqtt: MqttLog;

beforeEach(async () => {
  place = await createLevelPlace();
  await open();
});
afterEach(() => place.dispose());

async function open(): Promise<void> {
  journal = await place.open({ keepsMqttLog: true });
  if (journal.mqtt === undefined) throw new Error("the journal keeps no log");
  mqtt = journal.mqtt;
}

async function publish(text: string, given: Partial<Publication> & { topic?: string } = {}): Promise<void> {
  const { topic = "a/b", ...rest } = given;
  const publication = { payload: Buffer.from(text), qos: 1 as const, retain: false, ...rest };
  await journal.append(message({ topic, channels: [], publish: publication }));
}

const texts = (publications: readonly LoggedPublication[]) => publications.map(({ payload }) => payload.toString());

async function readAll(log: PublicationLog, after = 0) {
  const read: LoggedPublication[] = [];
  const missing: NonNullable<PublicationPage["missing"]>[] = [];
  for (let next = after; next < log.head; ) {
    const page = await log.read(next);
    read.push(...page.publications);
    if (page.missing !== undefined) missing.push(page.missing);
    if (page.next <= next) throw new Error(`a page after ${next} continues at ${page.next}`);
    next = page.next;
  }
  return { read, missing };
}

/** Changes rows of the closed journal, as damage or another version would. */
async function withRows(change: (db: ClassicLevel<string, Uint8Array>, keys: string[]) => Promise<void>) {
  await journal.close();
  const db = new ClassicLevel<string, Uint8Array>(join(place.path, "log"), { valueEncoding: "view" });
  await change(db, await db.keys({ gte: "p", lt: "q" }).all());
  await db.close();
  await open();
}

test("publications are followed, held in memory, and read from disk, in order and with all their fields", async () => {
  const followed: LoggedPublication[] = [];
  mqtt.publications.follow((publications) => followed.push(...publications));
  const properties = Buffer.from([1, 2, 3]);
  await publish("1", { publisher: "user:alice\u001farchive", expiresAt: 1_800_000_000_000.5, properties });
  await journal.append(message());
  await Promise.all([publish("2", { qos: 2 }), publish("3", { retain: true, topic: "ä/ö" })]);
  const { read } = await readAll(mqtt.publications);
  expect(texts(read)).toEqual(["1", "2", "3"]);
  expect(read).toEqual(followed);
  expect(mqtt.publications.recent(0)).toEqual({ publications: followed, next: 4 });
  expect(read[0]).toMatchObject({ position: 1, publisher: "user:alice\u001farchive", properties });
  expect(read[0]?.expiresAt).toBe(1_800_000_000_000.5);
  expect(read[2]).toMatchObject({ position: 4, topic: "ä/ö", qos: 1, retain: true });
  await open();
  expect((await readAll(mqtt.publications)).read).toEqual(read);
  expect(mqtt.publications.recent(0)).toBeUndefined();
  expect(mqtt.publications.recent(4)).toEqual({ publications: [], next: 4 });
});

test("every publication is read, although LevelDB returns fewer rows than requested", async () => {
  const text = "x".repeat(50_000);
  for (const n of range(1, 60)) await publish(`${n} ${text}`);
  const { read, missing } = await readAll(mqtt.publications);
  expect(read.map(({ position }) => position)).toEqual(range(1, 60));
  expect(missing).toEqual([]);
});

test("a page from memory is limited, and an old position is not served from memory", async () => {
  await Promise.all(range(1, 800).map((n) => publish(`${n}`)));
  const page = mqtt.publications.recent(100);
  expect(page?.publications.length).toBeLessThan(700);
  const rest = mqtt.publications.recent(page?.next ?? 0);
  expect([...texts(page?.publications ?? []), ...texts(rest?.publications ?? [])]).toEqual(range(101, 800).map(String));
  expect(rest?.next).toBe(800);
});

test("removed publications are not read and do not seem to be missing, also after a restart", async () => {
  for (const n of range(1, 30)) await publish(`${n}`);
  mqtt.publications.trim(10);
  for (const n of range(31, 33)) await publish(`${n}`);
  expect(mqtt.publications.floor).toBe(10);
  expect(await readAll(mqtt.publications)).toMatchObject({ missing: [], read: { length: 23 } });
  await open();
  expect(mqtt.publications.floor).toBe(10);
  const { read, missing } = await readAll(mqtt.publications);
  expect(texts(read)).toEqual(range(11, 33).map(String));
  expect(missing).toEqual([]);
  mqtt.publications.trim(33);
  await open();
  expect(await readAll(mqtt.publications)).toEqual({ read: [], missing: [] });
  await publish("34");
  expect(texts((await readAll(mqtt.publications)).read)).toEqual(["34"]);
});

test("rows that the store has lost are reported, wherever they are, and the others are read", async () => {
  for (const n of range(1, 30)) await publish(`${n}`);
  await withRows(async (db, keys) => {
    for (const n of [1, 2, 11, 30]) await db.del(keys[n - 1] ?? "");
    await db.put(keys[19] ?? "", Buffer.from([1, 2, 3]));
  });
  await publish("31");
  const { read, missing } = await readAll(mqtt.publications);
  expect(texts(read)).toEqual(
    range(1, 31)
      .filter((n) => ![1, 2, 11, 20, 30].includes(n))
      .map(String),
  );
  // The newest row was lost while the journal was closed: the check of the files at the start reports this.
  expect(missing).toEqual([
    { after: 0, before: 3 },
    { after: 10, before: 12 },
    { after: 19, before: 21 },
  ]);
});

test("a row of the version before is read", async () => {
  await publish("new");
  const frame = Buffer.concat([Buffer.from([2, 0, 0, 0, 3, 0, 0, 0, 3]), Buffer.from("a/bold")]);
  const row = Buffer.alloc(12);
  row.writeDoubleBE(1, 0);
  await withRows(async (db, keys) => db.put(keys[0] ?? "", Buffer.concat([row, frame])));
  expect(await readAll(mqtt.publications)).toMatchObject({
    read: [{ position: 1, topic: "a/b", payload: Buffer.from("old"), qos: 2, retain: false }],
    missing: [],
  });
});

test("retained messages are stored with the publication, replaced and cleared, and outlive the log", async () => {
  const retain = { retain: true };
  await Promise.all([
    publish("1", { ...retain, topic: "a" }),
    publish("2", { ...retain, topic: "b" }),
    publish("3", { ...retain, topic: "a", qos: 0 }),
    publish("4", { topic: "a" }),
    publish("", { ...retain, topic: "b" }),
    publish("5", { ...retain, topic: "c", qos: 2 }),
  ]);
  mqtt.publications.trim(6);
  await publish("6", { topic: "c" });
  await open();
  const found: unknown[] = [];
  for await (const one of mqtt.publications.retainedTopics()) found.push(one);
  expect(found).toEqual([
    { topic: "a", bytes: 1, position: 3 },
    { topic: "c", bytes: 1, position: 6 },
  ]);
  const [a, b, c] = await mqtt.publications.retained(["a", "b", "c"]);
  expect(a).toMatchObject({ position: 3, qos: 0, payload: Buffer.from("3"), retain: true });
  expect(b).toBeUndefined();
  expect(c).toMatchObject({ position: 6, qos: 2, payload: Buffer.from("5") });
});

test("the store puts back the value before a failed write, of rows that memory does not have", async () => {
  await journal.close();
  const { db } = await openDatabase(place.path, "the journal");
  const store = new Store(db, {
    ...{ path: place.path, sync: true, logger: pino({ level: "silent" }) },
    ...{ truth: () => undefined, isRestored: (key: string) => key.startsWith("r"), proof: (set) => set.put("h", "0") },
  });
  const set = new WriteSet();
  for (const key of ["r1", "r2", "m1"]) set.put(key, "before");
  await store.write(set, new WriteSet());
  const failing = new (class extends WriteSet {
    override write(): Promise<void> {
      return Promise.reject(new Error("no space left on device"));
    }
  })();
  for (const key of ["r1", "r3", "m1", "m2"]) failing.put(key, "after");
  await expect(store.write(failing, new WriteSet())).rejects.toThrow("full");
  // The failed write may have reached the disk all the same.
  await store.db.put("r1", "after").then(() => store.db.put("r3", "after"));
  await store.ready();
  expect(await store.db.getMany(["r1", "r2", "r3", "m1"])).toEqual(["before", "before", undefined, undefined]);
  await store.close();
});

test("rows of the broker are durable after a flush, or with the next write of the journal", async () => {
  const all = async () => {
    const rows: Record<string, string> = {};
    for await (const [key, value] of mqtt.rows.load("s:")) rows[key] = value;
    return rows;
  };
  mqtt.rows.set("s:é1", "1");
  mqtt.rows.set("s:é1", "2");
  mqtt.rows.set("w:1", "will");
  await mqtt.rows.flush();
  expect(await all()).toEqual({ "s:é1": "2" });
  mqtt.rows.set("s:2", "3");
  await journal.append(message());
  expect(await all()).toEqual({ "s:2": "3", "s:é1": "2" });
  mqtt.rows.set("s:2", undefined);
  await expect.poll(all).toEqual({ "s:é1": "2" });
  mqtt.rows.set("s:3", "4");
  await open();
  expect(await all()).toEqual({ "s:3": "4", "s:é1": "2" });
});

test("the id of a QoS 2 publication is stored with the message, until it is removed", async () => {
  const ids = async () => {
    const found: unknown[] = [];
    for await (const id of mqtt.incomingIds()) found.push(id);
    return found;
  };
  const id = (session: string, messageId: number) => ({ session, messageId });
  const publication = { payload: Buffer.from("p"), qos: 2 as const, retain: false };
  await journal.append(message({ publish: publication, incomingId: id("12:3", 7) }));
  await journal.append(message({ publish: publication, incomingId: id("user:a\u001fb", 65_535) }));
  await open();
  expect(await ids()).toEqual([id("12:3", 7), id("user:a\u001fb", 65_535)]);
  await mqtt.removeIncomingIds([id("12:3", 7)]);
  await open();
  expect(await ids()).toEqual([id("user:a\u001fb", 65_535)]);
});

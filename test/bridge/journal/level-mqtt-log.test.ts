import { join } from "node:path";
import { ClassicLevel } from "classic-level";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { openDatabase } from "../../../platform/level/database.ts";
import { Store } from "../../../platform/level/store.ts";
import { WriteSet } from "../../../platform/level/write-set.ts";
import type { MqttLog } from "../../../platform/publication-log.ts";
import { createLevelPlace, type LevelPlace } from "./level-place.ts";
import { message, range } from "./messages.ts";
import { describeMqttLog, mqttOf, publish, readLog, texts } from "./mqtt-log-suite.ts";

describeMqttLog("the log for MQTT sessions in LevelDB", async () => {
  const own = await createLevelPlace();
  return { ...own, open: () => own.open() };
});

let place: LevelPlace;
let journal: Journal;
let mqtt: MqttLog;

beforeEach(async () => {
  place = await createLevelPlace();
  await open();
});
afterEach(() => place.dispose());

async function open(): Promise<void> {
  journal = await place.open();
  mqtt = mqttOf(journal);
}

/** Changes rows of the closed journal, as damage or another version would. */
async function withRows(change: (db: ClassicLevel<string, Uint8Array>, keys: string[]) => Promise<void>) {
  await journal.close();
  const db = new ClassicLevel<string, Uint8Array>(join(place.path, "log"), { valueEncoding: "view" });
  await change(db, await db.keys({ gte: "p", lt: "q" }).all());
  await db.close();
  await open();
}

test("rows that the store has lost are reported, wherever they are, and the others are read", async () => {
  for (const n of range(1, 30)) await publish(journal, `${n}`);
  await withRows(async (db, keys) => {
    for (const n of [1, 2, 11, 30]) await db.del(keys[n - 1] ?? "");
    await db.put(keys[19] ?? "", Buffer.from([1, 2, 3]));
  });
  await publish(journal, "31");
  const { read, missing } = await readLog(mqtt.publications);
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
  await publish(journal, "new");
  const frame = Buffer.concat([Buffer.from([2, 0, 0, 0, 3, 0, 0, 0, 3]), Buffer.from("a/bold")]);
  const row = Buffer.alloc(12);
  row.writeDoubleBE(1, 0);
  await withRows(async (db, keys) => db.put(keys[0] ?? "", Buffer.concat([row, frame])));
  expect(await readLog(mqtt.publications)).toMatchObject({
    read: [{ position: 1, topic: "a/b", payload: Buffer.from("old"), qos: 2, retain: false }],
    missing: [],
  });
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

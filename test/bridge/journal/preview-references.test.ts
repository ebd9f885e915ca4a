import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type BridgeIngest, createIngest } from "../../../bridge/ingest.ts";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { openLevelJournal } from "../../../bridge/journal/stores/level/level.ts";
import { openPreviews, type Previews } from "../../../bridge/previews/previews.ts";
import { topicTree } from "../../../contract/topics.ts";
import type { LoggedPublication, PublicationLog } from "../../../platform/publication-log.ts";
import { smallJpeg } from "../../support/jpeg.ts";

const logger = pino({ level: "silent" });
const tree = topicTree("skylapse/v1");

let folder: string;
let journal: Journal;
let previews: Previews;
let ingest: BridgeIngest;
let log: PublicationLog;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "preview-references-"));
  await open();
});
afterEach(async () => {
  await close();
  await rm(folder, { recursive: true });
});

async function open(): Promise<void> {
  previews = await openPreviews({ path: join(folder, "previews") });
  const retention = { retentionEvents: 10_000, retentionHours: 24 };
  journal = await openLevelJournal({
    ...{ path: join(folder, "journal"), sync: false, logger, previews, ...retention },
  });
  if (journal.mqtt === undefined) throw new Error("the journal keeps no log");
  log = journal.mqtt.publications;
  ingest = createIngest({ journal, tree, channels: new Map(), previews, maxPayloadBytes: 100_000, logger });
}

async function close(): Promise<void> {
  await journal.close();
  await previews.close();
}

async function publish(topic: string, payload: Buffer, qos: 0 | 1 | 2 = 1): Promise<void> {
  await ingest.accept({ identity: "device:north", topic: `skylapse/v1/cameras/${topic}`, payload, qos, retain: false });
}

const picture = (camera: string, capture: string, jpeg = smallJpeg(capture)) =>
  publish(`${camera}/previews/${capture}`, jpeg);

async function readAll(): Promise<string[]> {
  const read: LoggedPublication[] = [];
  for (let after = 0; after < log.head; ) {
    const page = await log.read(after);
    expect(page.missing).toBeUndefined();
    expect(page.next).toBeGreaterThan(after);
    read.push(...page.publications);
    after = page.next;
  }
  for (const { topic, payload } of read)
    if (topic.includes("previews")) expect(payload).toEqual(smallJpeg(topic.split("/").at(-1) ?? ""));
  return read.map(({ topic }) => topic.replace("skylapse/v1/cameras/", ""));
}

test("followers get each picture, and readers of the log get the newest of each camera, in its place", async () => {
  const followed: LoggedPublication[] = [];
  log.follow((publications) => followed.push(...publications));
  await picture("north", "c20260301t063000");
  await publish("north/events/a", Buffer.from('"1"'));
  await picture("south", "c20260301t063000");
  await picture("north", "c20260301t063100");
  await publish("north/events/b", Buffer.from('"2"'));
  // From a backlog: never the newest.
  await picture("north", "c20260301t062900");
  await publish("north/previews/c20260301t063200", smallJpeg("c20260301t063200"), 0);
  const pictures = followed.filter(({ topic }) => topic.includes("previews"));
  expect(pictures.map(({ payload }) => payload)).toEqual(
    ["063000", "063000", "063100", "062900"].map((time) => smallJpeg(`c20260301t${time}`)),
  );
  expect(log.recent(0)?.publications).toEqual(followed);
  // The newest preview of north was not published for the log.
  expect(await readAll()).toEqual(["north/events/a", "south/previews/c20260301t063000", "north/events/b"]);
  await picture("north", "c20260301t063300");
  const kept = [
    ...["north/events/a", "south/previews/c20260301t063000", "north/events/b"],
    "north/previews/c20260301t063300",
  ];
  expect(await readAll()).toEqual(kept);
  await close();
  await open();
  expect(await readAll()).toEqual(kept);
});

test("the log holds names instead of pictures, and a scan does not read pictures", async () => {
  for (let n = 0; n < 20; n++) await picture(`cam${n}`, "c1", smallJpeg("c1", { bytes: 60_000 }));
  expect(log.bytes).toBeLessThan(20 * 300);
  const { publications } = await log.scan(0);
  expect(publications).toHaveLength(20);
  expect(new Set(publications.map(({ payload }) => payload.length))).toEqual(new Set([0]));
  expect(publications[0]?.reference).toMatch(/^\["cam0","c1",/);
});

test("a page ends when its pictures are large, and the next page continues with the next picture", async () => {
  await Promise.all(Array.from({ length: 40 }, (_, n) => picture(`cam${n}`, "c1", smallJpeg("c1", { bytes: 60_000 }))));
  const lengths: number[] = [];
  const cameras: string[] = [];
  for (let after = 0; after < log.head; ) {
    const { publications, next } = await log.read(after);
    lengths.push(publications.length);
    cameras.push(...publications.map(({ topic }) => topic.split("/")[3] ?? ""));
    after = next;
  }
  expect(lengths).toEqual([18, 18, 4]);
  expect(new Set(cameras).size).toBe(40);
});

test("a picture whose file is lost is left out", async () => {
  await picture("north", "c1");
  await picture("south", "c1");
  await rm(join(folder, "previews", "north"), { recursive: true });
  expect(await readAll()).toEqual(["south/previews/c1"]);
});

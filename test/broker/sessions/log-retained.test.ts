import pino from "pino";
import { expect, it } from "vitest";
import { LogRetained } from "../../../broker/sessions/log-retained.ts";
import type { PublicationLog } from "../../../platform/publication-log.ts";
import { levelPlace, openStorage } from "./storage-over-journal.ts";

const START = 1_800_000_000_000;

it("a message above the head of a repaired log does not count as live", async () => {
  let append: Parameters<PublicationLog["follow"]>[0] = () => {};
  const log = {
    head: 5,
    follow: (onPublications: typeof append) => {
      append = onPublications;
      return () => {};
    },
    async *retainedTopics() {
      yield { topic: "a", bytes: 1, position: 8 };
    },
    retained: async () => [],
    removeRetained: async () => {},
  };
  const retained = new LogRetained({ log, now: () => 0, logger: pino({ level: "silent" }) });
  await retained.load();
  append([], 6);
  expect(retained.newest).toBe(8);
  append([], 9);
  expect(retained.newest).toBe(9);
});

it("a retained message that has expired is not read, and takes no room, also after a restart", async () => {
  const clock = { now: START };
  const openJournal = levelPlace();
  const now = () => clock.now;
  const first = await openStorage({ now, openJournal });
  const publish = (topic: string, text: string, expiresAt?: number) => {
    const properties = Buffer.from("12345");
    const message = { topic, payload: Buffer.from(text), qos: 1 as const, retain: true, expiresAt, properties };
    return first.journal.mqtt.append(message);
  };
  for (const topic of ["a", "b", "c", "d"]) await publish(topic, "old", START + 10_000);
  await publish("b", "newer", START + 20_000);
  await publish("c", "for ever");
  expect(first.storage.retained.topics.bytes).toBe(8 + 10 + 13 + 8);
  const read = async (storage: typeof first.storage) => {
    const texts: string[] = [];
    for await (const { payload } of storage.retained.read(["#"])) texts.push(payload.toString());
    return texts.sort();
  };
  clock.now += 9_999;
  expect(await read(first.storage)).toEqual(["for ever", "newer", "old", "old"]);
  clock.now += 1;
  expect(await read(first.storage)).toEqual(["for ever", "newer"]);
  await expect.poll(() => first.storage.retained.topics.bytes).toBe(10 + 13);
  expect(first.storage.retained.topics.size).toBe(2);
  await first.close();
  clock.now += 10_000;
  const second = await openStorage({ now, openJournal });
  expect(await read(second.storage)).toEqual(["for ever"]);
  await expect.poll(() => second.storage.retained.topics.size).toBe(1);
  const stored: string[] = [];
  for await (const { topic } of second.journal.mqtt.publications.retainedTopics()) stored.push(topic);
  expect(stored).toEqual(["c"]);
});

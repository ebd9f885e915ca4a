import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Journal, Publication } from "../../../bridge/journal/journal.ts";
import type { LoggedPublication, MqttLog, PublicationLog, PublicationPage } from "../../../platform/publication-log.ts";
import { message, range } from "./messages.ts";

/** The storage of a journal with a log for MQTT sessions. */
export interface MqttLogPlace {
  /** Opens the journal. Closes an open journal first. */
  open(): Promise<Journal>;
  dispose(): Promise<void>;
}

export function mqttOf(journal: Journal): MqttLog {
  if (journal.mqtt === undefined) throw new Error("the journal keeps no log");
  return journal.mqtt;
}

export async function publish(
  journal: Journal,
  text: string,
  given: Partial<Publication> & { topic?: string } = {},
): Promise<void> {
  const { topic = "a/b", ...rest } = given;
  const publication = { payload: Buffer.from(text), qos: 1 as const, retain: false, ...rest };
  await journal.append(message({ topic, channels: [], publish: publication }));
}

export function texts(publications: readonly LoggedPublication[]): string[] {
  return publications.map(({ payload }) => payload.toString());
}

export async function readLog(log: PublicationLog, after = 0) {
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

/** The tests that the log of every implementation of the journal passes. */
export function describeMqttLog(name: string, createPlace: () => Promise<MqttLogPlace>): void {
  describe(name, () => {
    let place: MqttLogPlace;
    let journal: Journal;
    let mqtt: MqttLog;

    beforeEach(async () => {
      place = await createPlace();
      await open();
    });
    afterEach(() => place.dispose());

    async function open(): Promise<void> {
      journal = await place.open();
      mqtt = mqttOf(journal);
    }

    test("publications are followed, held in memory, and read from the store, in order and with all their fields", async () => {
      const followed: LoggedPublication[] = [];
      mqtt.publications.follow((publications) => followed.push(...publications));
      const properties = Buffer.from([1, 2, 3]);
      await publish(journal, "1", { publisher: "user:alice\u001farchive", expiresAt: 1_800_000_000_000.5, properties });
      await journal.append(message());
      await Promise.all([publish(journal, "2", { qos: 2 }), publish(journal, "3", { retain: true, topic: "ä/ö" })]);
      const { read } = await readLog(mqtt.publications);
      expect(texts(read)).toEqual(["1", "2", "3"]);
      expect(read).toEqual(followed);
      expect(mqtt.publications.recent(0)).toEqual({ publications: followed, next: 4 });
      expect(read[0]).toMatchObject({ position: 1, publisher: "user:alice\u001farchive", properties });
      expect(read[0]?.expiresAt).toBe(1_800_000_000_000.5);
      expect(read[2]).toMatchObject({ position: 4, topic: "ä/ö", qos: 1, retain: true });
      await open();
      expect((await readLog(mqtt.publications)).read).toEqual(read);
      expect(mqtt.publications.recent(0)).toBeUndefined();
      expect(mqtt.publications.recent(4)).toEqual({ publications: [], next: 4 });
    });

    test("every publication of a large log is read, page by page", async () => {
      const text = "x".repeat(50_000);
      for (const n of range(1, 60)) await publish(journal, `${n} ${text}`);
      const { read, missing } = await readLog(mqtt.publications);
      expect(read.map(({ position }) => position)).toEqual(range(1, 60));
      expect(missing).toEqual([]);
    });

    test("a page from memory is limited, and an old position is not served from memory", async () => {
      await Promise.all(range(1, 800).map((n) => publish(journal, `${n}`)));
      const page = mqtt.publications.recent(100);
      expect(page?.publications.length).toBeLessThan(700);
      const rest = mqtt.publications.recent(page?.next ?? 0);
      expect([...texts(page?.publications ?? []), ...texts(rest?.publications ?? [])]).toEqual(
        range(101, 800).map(String),
      );
      expect(rest?.next).toBe(800);
    });

    test("removed publications are not read and do not seem to be missing, also after a restart", async () => {
      for (const n of range(1, 30)) await publish(journal, `${n}`);
      mqtt.publications.trim(10);
      for (const n of range(31, 33)) await publish(journal, `${n}`);
      expect(mqtt.publications.floor).toBe(10);
      expect(await readLog(mqtt.publications)).toMatchObject({ missing: [], read: { length: 23 } });
      await open();
      expect(mqtt.publications.floor).toBe(10);
      const { read, missing } = await readLog(mqtt.publications);
      expect(texts(read)).toEqual(range(11, 33).map(String));
      expect(missing).toEqual([]);
      mqtt.publications.trim(33);
      await open();
      expect(await readLog(mqtt.publications)).toEqual({ read: [], missing: [] });
      await publish(journal, "34");
      expect(texts((await readLog(mqtt.publications)).read)).toEqual(["34"]);
    });

    test("an expired retained message is removed, unless a newer one has replaced it, and nobody hears of it", async () => {
      const followed: LoggedPublication[] = [];
      const properties = Buffer.from([1, 2]);
      await publish(journal, "old", { topic: "a", retain: true, expiresAt: 5, properties });
      await publish(journal, "old", { topic: "b", retain: true });
      await publish(journal, "newer", { topic: "b", retain: true });
      await publish(journal, "old", { topic: "c", retain: true });
      const topics: unknown[] = [];
      for await (const topic of mqtt.publications.retainedTopics()) topics.push(topic);
      expect(topics).toContainEqual({ topic: "a", bytes: 5, position: 1, expiresAt: 5 });
      mqtt.publications.follow((publications) => followed.push(...publications));
      // A newer message in the same write.
      const replacing = publish(journal, "newer", { topic: "c", retain: true });
      const expired = [
        { topic: "a", position: 1 },
        { topic: "b", position: 2 },
        { topic: "c", position: 4 },
        { topic: "d", position: 9 },
      ];
      await Promise.all([replacing, mqtt.publications.removeRetained(expired)]);
      const read = () => mqtt.publications.retained(["a", "b", "c"]);
      const left = (await read()).map((message) => message?.payload.toString());
      expect(left).toEqual([undefined, "newer", "newer"]);
      expect(texts(followed)).toEqual(["newer"]);
      await open();
      expect((await read()).map((message) => message?.payload.toString())).toEqual(left);
      // As many can be retained as before.
      await publish(journal, "again", { topic: "a", retain: true });
      expect((await read())[0]?.payload.toString()).toBe("again");
    });

    test("retained messages are stored with the publication, replaced and cleared, and outlive the log", async () => {
      const retain = { retain: true };
      await Promise.all([
        publish(journal, "1", { ...retain, topic: "a" }),
        publish(journal, "2", { ...retain, topic: "b" }),
        publish(journal, "3", { ...retain, topic: "a", qos: 0 }),
        publish(journal, "4", { topic: "a" }),
        publish(journal, "", { ...retain, topic: "b" }),
        publish(journal, "5", { ...retain, topic: "c", qos: 2 }),
      ]);
      mqtt.publications.trim(6);
      await publish(journal, "6", { topic: "c" });
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
  });
}

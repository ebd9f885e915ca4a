import { connectAsync, type MqttClient } from "mqtt";
import pino from "pino";
import { expect, it, onTestFinished } from "vitest";
import { OutwardCursor } from "../../../../bridge/broker-link/outside/outward-cursor.ts";
import { openLevelJournal } from "../../../../bridge/journal/stores/level/level.ts";
import type { LoggedPublication } from "../../../../platform/publication-log.ts";
import { startMosquitto } from "../../../support/mosquitto.ts";
import { makeDataPath, removeDataPath } from "../../../support/skylapse.ts";

const logger = pino({ level: "silent" });

async function given() {
  const mosquitto = await startMosquitto();
  onTestFinished(() => mosquitto.remove());
  const path = makeDataPath();
  onTestFinished(() => removeDataPath(path));
  const journal = await openLevelJournal({ path, sync: false, retentionEvents: 1_000, retentionHours: 24, logger });
  onTestFinished(() => journal.close());
  const { mqtt } = journal;
  const client = async (): Promise<MqttClient> => {
    const made = await connectAsync(mosquitto.url, { reconnectPeriod: 0, protocolVersion: 5 });
    onTestFinished(() => void made.end(true));
    return made;
  };
  const reader = await client();
  const read: string[] = [];
  reader.on("message", (_topic, payload) => read.push(String(payload)));
  await reader.subscribeAsync("system/#", { qos: 1 });
  const sent: number[] = [];
  const cursor = new OutwardCursor({
    ...{ log: mqtt.publications, sent: mqtt.publications.head, origin: "me", version: 5, logger },
    onSent: (position) => sent.push(position),
    onStuck: () => {},
  });
  onTestFinished(() => cursor.stop());
  const append = (text: string, retain = false) =>
    mqtt.append({ topic: "system/status", payload: Buffer.from(text), qos: 1, retain });
  return { mqtt, client, read, cursor, append, sent };
}

it("publishes what the log has in its order, and goes on after a broken connection", async () => {
  const { mqtt, client, read, cursor, append, sent } = await given();
  await append("1");
  const first = await client();
  cursor.up(first);
  await expect.poll(() => sent.at(-1)).toBe(mqtt.publications.head);
  // No PUBACK is read any more.
  first.stream.pause();
  for (let n = 2; n <= 40; n++) void append(String(n));
  await expect.poll(() => read.length).toBe(1 + 32);
  cursor.down();
  first.end(true);
  for (let n = 41; n <= 80; n++) await append(String(n));
  cursor.up(await client());
  await expect.poll(() => read.at(-1)).toBe("80");
  // What was not acknowledged comes twice.
  expect(read.slice(33, 35)).toEqual(["2", "3"]);
  expect([...new Set(read)]).toEqual(Array.from({ length: 80 }, (_, index) => String(index + 1)));
  await expect.poll(() => sent.at(-1)).toBe(mqtt.publications.head);
});

it("repeats no retained message after a newer one of its topic, and skips what it gives up", async () => {
  const { client, read, cursor, append } = await given();
  const old: LoggedPublication = {
    ...{ position: await append("old", true), topic: "system/status", payload: Buffer.from("old") },
    ...{ qos: 1, retain: true },
  };
  cursor.giveUp();
  expect(cursor.counts.lost).toBe(1);
  cursor.up(await client());
  async function* slowly() {
    await append("new", true);
    await expect.poll(() => read).toEqual(["new"]);
    yield old;
  }
  await cursor.repeat(slowly());
  await append("end");
  await expect.poll(() => read).toEqual(["new", "end"]);
});

import { join } from "node:path";
import { ClassicLevel } from "classic-level";
import { pino } from "pino";
import { expect, it } from "vitest";
import { maxFrameBytes, writeFrame } from "../../../bridge/journal/core/publication-frames.ts";
import { openLevelJournal } from "../../../bridge/journal/stores/level/level.ts";
import { temporaryFolder } from "../../broker/broker-under-test.ts";
import { state } from "./messages.ts";

const logger = pino({ level: "silent" });
const open = (path: string) =>
  openLevelJournal({ path, sync: false, logger, retentionEvents: 100, retentionHours: 24 });

/** A row as versions before the log wrote it. */
function earlierRow(publications: readonly { position: number; topic: string; retain: boolean }[]): Buffer {
  const first = publications[0]?.position ?? 0;
  const head = Buffer.alloc(8);
  head.writeDoubleBE(first);
  const frames = publications.map(({ position, topic, retain }) => {
    const publication = { payload: Buffer.from(String(position)), qos: 1 as const, retain };
    const frame = Buffer.alloc(4 + maxFrameBytes(topic, publication));
    frame.writeUInt32BE(position - first);
    return frame.subarray(0, writeFrame(frame, 4, topic, publication));
  });
  return Buffer.concat([head, ...frames]);
}

it("an undelivered publication is not retained if its topic has a newer retained message", async () => {
  const path = temporaryFolder();
  const journal = await open(path);
  const topics = ["battery", "heater"].map((name) => state("north", name));
  for (const message of [...topics, topics[0]]) if (message !== undefined) await journal.append(message);
  await journal.close();
  const db = new ClassicLevel<string, Buffer>(join(path, "log"), { valueEncoding: "buffer" });
  const [battery = "", heater = ""] = topics.map(({ topic }) => topic);
  const of = (position: number, topic: string, retain = true) => ({ position, topic, retain });
  await db.put("u0000000000000004", earlierRow([of(1, battery), of(2, heater), of(3, battery), of(4, "job", false)]));
  await db.put("v0000000000000004", Buffer.from("[1,2,4]"));
  await db.close();
  const again = await open(path);
  const found: [number, boolean][] = [];
  for await (const { position, retain } of again.mqtt?.earlier?.undelivered() ?? []) found.push([position, retain]);
  expect(found).toEqual([
    [1, false],
    [2, true],
    [4, false],
  ]);
  await again.mqtt?.earlier?.end("1");
  for await (const publication of again.mqtt?.earlier?.undelivered() ?? []) expect(publication).toBeUndefined();
  await again.close();
});

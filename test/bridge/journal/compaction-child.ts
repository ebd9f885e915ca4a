import { pino } from "pino";
import { z } from "zod";
import { openLevelJournal } from "../../../bridge/journal/stores/level/level.ts";
import { openRedis } from "../../../platform/redis/connections.ts";
import { openJournalNode } from "../../support/redis-journal.ts";
import { message, range } from "./messages.ts";

/** All messages below `next` are acknowledged. Sent in the middle of a compaction. */
export interface CompactionReport {
  next: number;
}

const argumentSchema = z.object({
  path: z.string().optional(),
  url: z.string(),
  prefix: z.string(),
  first: z.number(),
});

const BATCH = 50;
const BATCHES = 8;
/** Every 20th message is wanted. */
const INTERVAL = 20;

// A program that appends and compacts until a test kills it.
const { path, url, prefix, first } = argumentSchema.parse(JSON.parse(process.argv.at(-1) ?? ""));
const logger = pino({ level: "silent" });
const options = { logger, retentionEvents: 100, retentionHours: 24 };
const waits = { heartbeatMs: 100, deadAfterMs: 500 };
const journal =
  path === undefined
    ? await openJournalNode({ redis: openRedis({ url, prefix, logger }), waits, ...options })
    : await openLevelJournal({ path, sync: false, ...options });
const log = journal.mqtt?.publications;
if (log === undefined) throw new Error("the journal keeps no log");

const publish = (n: number) => ({ payload: Buffer.from(`${n} `.padEnd(200, "x")), qos: 1 as const, retain: false });
for (let next = first, isWhole = true; ; isWhole = !isWhole) {
  for (let batch = 0; batch < BATCHES; batch++, next += BATCH) {
    const numbers = range(next, next + BATCH - 1);
    const topic = (n: number) => (n % INTERVAL === 0 ? "rare" : "often");
    await Promise.all(numbers.map((n) => journal.append(message({ topic: topic(n), publish: publish(n) }))));
  }
  let asked = 0;
  const after = isWhole ? 0 : Math.round(log.head / 2);
  const compacting = log.compact({ after, upTo: log.head }, (publication) => {
    if (++asked === 100) process.send?.({ next } satisfies CompactionReport);
    return publication.topic === "rare";
  });
  // Refused while a node that was killed counts as living.
  await compacting.catch(() => {});
}

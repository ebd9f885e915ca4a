import { expect, it, onTestFinished } from "vitest";
import { RetainedLimits } from "../../../../bridge/broker-link/outside/retained-limits.ts";
import { createIngest } from "../../../../bridge/ingest.ts";
import { openLevelJournal } from "../../../../bridge/journal/stores/level/level.ts";
import { openPreviews } from "../../../../bridge/previews/previews.ts";
import type { IncomingPublication } from "../../../../platform/publications.ts";
import { makeDataPath, removeDataPath } from "../../../support/skylapse.ts";
import { logger, tree } from "../../websocket/server.ts";

const MAX_MESSAGES = 5;
const MAX_CHARS = 20_000;
const FENCE = { lease: "outside-broker", number: 1 };

async function start() {
  const path = makeDataPath();
  onTestFinished(() => removeDataPath(path));
  const retention = { retentionEvents: 10_000, retentionHours: 24 };
  const journal = await openLevelJournal({ path: `${path}/journal`, sync: false, logger, ...retention });
  onTestFinished(() => journal.close());
  const previews = await openPreviews({ path: `${path}/previews` });
  const ingest = createIngest({ journal, tree, channels: new Map(), previews, maxPayloadBytes: 100_000, logger });
  const exceeded: string[] = [];
  const limits = new RetainedLimits({
    ...{ journal, tree, maxMessages: MAX_MESSAGES, maxChars: MAX_CHARS },
    onExceeded: (_, why) => exceeded.push(why),
  });
  const publish = async (name: string, data: unknown, retain = true) => {
    const payload = data === null ? Buffer.alloc(0) : Buffer.from(JSON.stringify(data));
    const publication: IncomingPublication = {
      identity: "device:north",
      topic: `${tree.root}/${name}`,
      payload,
      qos: 1,
      retain,
    };
    await ingest.acceptFromOutside(limits.apply(publication), FENCE);
  };
  const kept = (name: string) => journal.state(`${tree.root}/${name}`) !== undefined;
  return { journal, publish, kept, exceeded };
}

it("a camera at another broker retains no more topics than MAX_RETAINED_MESSAGES_PER_DEVICE, and others keep their room", async () => {
  const { journal, publish, kept, exceeded } = await start();
  for (let index = 0; index < 2 * MAX_MESSAGES; index++) await publish(`cameras/north/state/s${index}`, { index });
  expect(journal.snapshot("camera:north")).toHaveLength(MAX_MESSAGES);
  expect(exceeded).toHaveLength(MAX_MESSAGES);
  expect(exceeded[0]).toContain("MAX_RETAINED_MESSAGES_PER_DEVICE is 5");
  // What is not retained is an event as every other.
  expect(journal.head).toBe(2 * MAX_MESSAGES);
  await publish("cameras/south/state/s0", {});
  expect(kept("cameras/south/state/s0")).toBe(true);
  await publish("cameras/north/state/s0", null);
  await publish("cameras/north/state/s9", {});
  expect([kept("cameras/north/state/s0"), kept("cameras/north/state/s9")]).toEqual([false, true]);
});

it("nor more than MAX_RETAINED_BYTES_PER_DEVICE, and a smaller message of a known topic is always retained", async () => {
  const { journal, publish, exceeded } = await start();
  for (const name of ["a", "b", "c"]) await publish(`processing/stacker/jobs/${name}`, { text: "x".repeat(8_000) });
  expect(journal.snapshot("jobs")).toHaveLength(2);
  expect(exceeded).toHaveLength(1);
  await publish("processing/stacker/jobs/a", { text: "y" });
  await publish("processing/stacker/jobs/c", { text: "x".repeat(8_000) });
  expect(journal.snapshot("jobs")).toHaveLength(3);
});

it("topics that the server shows to nobody are not retained", async () => {
  const { publish, kept, exceeded } = await start();
  await publish("cameras/north/own/deep/topic", {});
  await publish("cameras/north/about", {});
  expect([kept("cameras/north/own/deep/topic"), kept("cameras/north/about")]).toEqual([false, true]);
  expect(exceeded).toEqual([]);
});

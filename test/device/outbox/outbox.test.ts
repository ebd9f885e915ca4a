import { expect, test } from "vitest";
import { MemoryOutbox } from "../../../device/outbox/memory-outbox.ts";
import type { OutboxEntry, OutgoingMessage } from "../../../device/outbox/outbox.ts";

let clock = 0;
function message(kind: OutgoingMessage["kind"], topic: string, size = 0): OutgoingMessage {
  const body = kind === "preview" ? new Uint8Array(size) : `{"data":"${"x".repeat(size)}"}`;
  return { topic, kind, retain: kind === "state", at: new Date(++clock * 1000), body };
}

function takeAll(outbox: MemoryOutbox): OutboxEntry[] {
  const entries: OutboxEntry[] = [];
  for (let entry = outbox.take(); entry !== undefined; entry = outbox.take()) entries.push(entry);
  return entries;
}

test("the outbox hands out messages in the order of `put`, and removes them when they are acknowledged", async () => {
  const outbox = new MemoryOutbox();
  for (const topic of ["a", "b", "c"]) await outbox.put(message("event", topic));
  const entries = takeAll(outbox);
  expect(entries.map((entry) => entry.message.topic)).toEqual(["a", "b", "c"]);
  expect(outbox.size).toBe(3);
  for (const entry of entries) await outbox.acknowledge(entry);
  for (const entry of entries) await outbox.acknowledge(entry);
  expect(outbox.size).toBe(0);
});

test("the outbox hands out the messages in flight again, first and with the same numbers", async () => {
  const outbox = new MemoryOutbox();
  for (const topic of ["a", "b", "c"]) await outbox.put(message("event", topic));
  const [first, second] = [outbox.take(), outbox.take()];
  if (first === undefined || second === undefined) expect.fail("nothing to take");
  await outbox.acknowledge(first);
  outbox.release();
  await outbox.put(message("event", "d"));
  expect(takeAll(outbox).map(({ seq, message: { topic } }) => [seq, topic])).toEqual([
    [2, "b"],
    [3, "c"],
    [4, "d"],
  ]);
});

test("the outbox replaces a waiting state by the next state on its topic, without a gap in the numbers", async () => {
  const outbox = new MemoryOutbox();
  await outbox.put(message("state", "storage"));
  await outbox.put(message("event", "capture"));
  await outbox.put(message("state", "power"));
  await outbox.put(message("state", "storage"));
  expect(takeAll(outbox).map(({ seq, message: { topic } }) => [seq, topic])).toEqual([
    [1, "capture"],
    [2, "power"],
    [3, "storage"],
  ]);
});

test("the outbox does not replace a state in flight, which may have arrived", async () => {
  const outbox = new MemoryOutbox();
  await outbox.put(message("state", "storage"));
  outbox.take();
  outbox.release();
  await outbox.put(message("state", "storage"));
  expect(takeAll(outbox)).toHaveLength(2);
});

test("the outbox drops the oldest previews and then the oldest events when full, and only as many as necessary", async () => {
  const outbox = new MemoryOutbox({ maxBytes: 10_000 });
  await outbox.put(message("event", "event-1", 2000));
  await outbox.put(message("preview", "preview-1", 2500));
  await outbox.put(message("state", "state-1", 100));
  await outbox.put(message("preview", "preview-2", 2500));
  await outbox.put(message("event", "event-2", 2500));
  await outbox.put(message("event", "event-3", 3000));
  const topics = (): string[] => takeAll(outbox).map((entry) => entry.message.topic);
  expect(topics()).toEqual(["event-1", "state-1", "event-2", "event-3"]);
  outbox.release();
});

test("the outbox drops events when no preview is left, and states last", async () => {
  const outbox = new MemoryOutbox({ maxBytes: 4000 });
  await outbox.put(message("state", "state", 500));
  for (let index = 0; index < 10; index++) await outbox.put(message("event", `event-${index}`, 1000));
  expect(takeAll(outbox).map((entry) => entry.message.topic)).toEqual(["state", "event-8", "event-9"]);
});

test("the outbox never drops a message that was sent", async () => {
  const outbox = new MemoryOutbox({ maxBytes: 3000 });
  await outbox.put(message("preview", "sent", 2000));
  outbox.take();
  outbox.release();
  await outbox.put(message("event", "late", 2500));
  expect(takeAll(outbox).map((entry) => entry.message.topic)).toEqual(["sent"]);
});

test("the outbox counts dropped messages with their times, and reports the drops once when there is room again", async () => {
  const outbox = new MemoryOutbox({ maxBytes: 4000 });
  const first = message("event", "event", 1000);
  await outbox.put(first);
  const second = message("event", "event", 1000);
  await outbox.put(second);
  for (let index = 0; index < 3; index++) await outbox.put(message("event", "event", 1000));
  expect(outbox.takeDropped()).toBeUndefined();
  for (const entry of takeAll(outbox)) await outbox.acknowledge(entry);
  expect(outbox.takeDropped()).toEqual({ count: 2, from: first.at, to: second.at });
  expect(outbox.takeDropped()).toBeUndefined();
});

test("the outbox bounds a hundred thousand small messages too", async () => {
  const outbox = new MemoryOutbox({ maxBytes: 100_000 });
  for (let index = 0; index < 100_000; index++) await outbox.put(message("event", "e"));
  expect(outbox.size).toBeLessThan(400);
});

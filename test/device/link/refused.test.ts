import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { z } from "zod";
import { DeviceClock } from "../../../device/host/clock.ts";
import { Sender } from "../../../device/link/sender.ts";
import { openDiskOutbox } from "../../../device/outbox/disk-outbox.ts";
import { envelopeOf, eventTopic, openBroker, quickly, silent, tree } from "../support/cameras.ts";
import type { TestBroker } from "../support/test-broker.ts";

const POISON = eventTopic("test.poison");
const HOUR_MS = 3_600_000;

async function senderWithDisk(broker: TestBroker) {
  const path = mkdtempSync(join(tmpdir(), "skylapse-refused-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  const outbox = await openDiskOutbox({ path, clock: new DeviceClock(), logger: silent });
  onTestFinished(() => outbox.close());
  const sender = new Sender({
    ...{ brokerUrl: broker.url, tree, owner: { kind: "camera", id: "north" }, secret: "s3cret", outbox },
    ...{ reconnect: quickly, now: () => new Date(), logger: silent },
  });
  onTestFinished(() => sender.stop());
  const send = (event: string, number: number) =>
    sender.event({ kind: "camera-event", camera: "north", event }, event, { number });
  return { sender, outbox, send };
}

const numbered = z.object({ number: z.number() });

/** The numbers in the order of their first arrival. */
function received(broker: TestBroker, event: string): number[] {
  const byId = new Map(broker.on(eventTopic(event)).map((message) => [envelopeOf(message).id, envelopeOf(message)]));
  return [...byId.values()].map(({ data }) => numbered.parse(data).number);
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

test("the uplink quarantines a message that makes the broker close every connection, reports the message, and sends the other messages", async () => {
  const broker = await openBroker();
  broker.refuses = (topic) => topic === POISON;
  const { sender, outbox, send } = await senderWithDisk(broker);
  for (const number of upTo(40)) {
    if (number === 5 || number === 25) await send("test.poison", number);
    await send("test.sent", number);
  }
  sender.start();
  await broker.until(() => received(broker, "test.sent").length === 40);
  expect(received(broker, "test.sent")).toEqual(upTo(40));
  const errors = await broker.until(() => {
    const errors = broker.on(eventTopic("error.occurred"));
    return errors.length >= 2 && errors.map((message) => envelopeOf(message).data);
  });
  expect(errors).toEqual(
    Array(2).fill({ source: "outbox", error: expect.stringMatching(/closes the connection whenever .*test\.poison/) }),
  );
  await expect.poll(() => outbox.size).toBe(2);
  // Later messages are sent without delay, on a connection that stays open.
  const connects = broker.connects.length;
  for (const number of upTo(20)) await send("test.later", number);
  await broker.until(() => received(broker, "test.later").length === 20);
  expect(broker.connects.length).toBe(connects);
});

test("the uplink retries a quarantined message on the first connection after an hour", async () => {
  const broker = await openBroker();
  broker.refuses = (topic) => topic === POISON;
  const { sender, outbox, send } = await senderWithDisk(broker);
  await send("test.poison", 1);
  sender.start();
  await broker.until(() => broker.on(eventTopic("error.occurred")).length === 1);
  await expect.poll(() => outbox.size).toBe(1);
  broker.refuses = () => false;
  broker.cut();
  await send("test.sent", 1);
  await broker.until(() => received(broker, "test.sent").length === 1);
  expect(broker.on(POISON)).toEqual([]);
  const now = performance.now.bind(performance);
  vi.spyOn(performance, "now").mockImplementation(() => now() + HOUR_MS);
  broker.cut();
  await broker.until(() => received(broker, "test.poison").length === 1);
  await expect.poll(() => outbox.size).toBe(0);
});

test("the uplink does not quarantine messages that were in flight when the link broke a few times, and keeps their order", async () => {
  const broker = await openBroker();
  let cuts = 0;
  broker.refuses = (topic) => topic === eventTopic("test.sent") && ++cuts <= 7;
  const { sender, send } = await senderWithDisk(broker);
  for (const number of upTo(5)) await send("test.sent", number);
  sender.start();
  await broker.until(() => received(broker, "test.sent").length === 5);
  expect(cuts).toBeGreaterThan(7);
  expect(received(broker, "test.sent")).toEqual(upTo(5));
  expect(broker.on(eventTopic("error.occurred"))).toEqual([]);
});

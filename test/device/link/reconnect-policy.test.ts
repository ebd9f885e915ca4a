import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { pino } from "pino";
import { expect, onTestFinished, test, vi } from "vitest";
import { z } from "zod";
import { Sender, type SenderOptions } from "../../../device/link/sender.ts";
import { MAX_IN_FLIGHT } from "../../../device/link/uplink.ts";
import { MemoryOutbox } from "../../../device/outbox/memory-outbox.ts";
import type { OutboxEntry } from "../../../device/outbox/outbox.ts";
import { backoffMs } from "../../../platform/backoff.ts";
import {
  cameraAt,
  cameraTopic,
  envelopeOf,
  eventTopic,
  openBroker,
  quickly,
  silent,
  tree,
} from "../support/cameras.ts";
import type { TestBroker } from "../support/test-broker.ts";

function senderAt(broker: TestBroker, changes: Partial<SenderOptions> = {}): Sender {
  const sender = new Sender({
    brokerUrl: broker.url,
    tree,
    owner: { kind: "camera", id: "north" },
    secret: "s3cret",
    outbox: new MemoryOutbox(),
    reconnect: quickly,
    now: () => new Date(),
    logger: silent,
    ...changes,
  });
  sender.start();
  onTestFinished(() => sender.stop());
  return sender;
}

class CountingOutbox extends MemoryOutbox {
  mostInFlight = 0;
  acknowledged = 0;
  #inFlight = 0;

  override take(): OutboxEntry | undefined {
    const entry = super.take();
    if (entry !== undefined) this.#inFlight++;
    this.mostInFlight = Math.max(this.mostInFlight, this.#inFlight);
    return entry;
  }

  override async acknowledge(entry: OutboxEntry): Promise<void> {
    this.#inFlight--;
    this.acknowledged++;
    await super.acknowledge(entry);
  }

  override release(): void {
    this.#inFlight = 0;
    super.release();
  }
}

const numbered = z.object({ number: z.number() });

function send(sender: Sender, number: number): void {
  sender.event({ kind: "camera-event", camera: "north", event: "test.sent" }, "test.sent", { number });
}

/** The numbers in the order of their first arrival, as for a receiver that ignores duplicate ids. */
function received(broker: TestBroker): number[] {
  const byId = new Map(broker.on(eventTopic("test.sent")).map((message) => [envelopeOf(message).id, message]));
  return [...byId.values()].map((message) => numbered.parse(envelopeOf(message).data).number);
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

test("the uplink delivers messages once and in order after an outage of the broker", async () => {
  const broker = await openBroker();
  const sender = senderAt(broker);
  for (let number = 0; number < 50; number++) send(sender, number);
  await broker.until(() => received(broker).length === 50);
  await broker.close();
  for (let number = 50; number < 300; number++) send(sender, number);
  await broker.open();
  await broker.until(() => received(broker).length === 300);
  expect(received(broker)).toEqual(upTo(300));
  const messages = broker.on(eventTopic("test.sent")).map(envelopeOf);
  expect(messages.every((envelope, index) => envelope.seq === index + 1)).toBe(true);
});

test("the uplink loses and reorders nothing over a link that breaks repeatedly, and numbers every message once", async () => {
  const broker = await openBroker();
  const sender = senderAt(broker);
  const count = 400;
  for (let number = 0; number < count; number++) {
    send(sender, number);
    if (number % 40 !== 39) continue;
    await broker.until(() => received(broker).length > number - 30);
    broker.cut();
  }
  await broker.until(() => received(broker).length === count);
  expect(received(broker)).toEqual(upTo(count));
  const numbers = new Map<string, Set<number | undefined>>();
  for (const { id, seq } of broker.on(eventTopic("test.sent")).map(envelopeOf))
    numbers.set(id, (numbers.get(id) ?? new Set()).add(seq));
  expect([...numbers.values()].every((seqs) => seqs.size === 1)).toBe(true);
});

test("the uplink publishes the birth before the backlog on every connection", async () => {
  const broker = await openBroker();
  const sender = senderAt(broker);
  await broker.until(() => broker.on(cameraTopic("link")).length === 1);
  await broker.close();
  broker.received.length = 0;
  for (let number = 0; number < 20; number++) send(sender, number);
  await broker.open();
  await broker.until(() => received(broker).length === 20);
  expect(broker.received[0]?.topic).toBe(cameraTopic("link"));
});

test("the uplink limits the unacknowledged messages to the window, and reconnects when the broker acknowledges nothing", async () => {
  const broker = await openBroker();
  const outbox = new CountingOutbox();
  const sender = senderAt(broker, { outbox, ackTimeoutMs: 300 });
  send(sender, 0);
  // Only a sender that has got the acknowledgement of its birth fills the window.
  await vi.waitFor(() => expect(outbox.acknowledged).toBe(1), 20_000);
  const { length: before } = broker.connects;
  broker.deaf = true;
  for (let number = 1; number < 100; number++) send(sender, number);
  await broker.until(() => broker.connects.length > before);
  expect(outbox.mostInFlight).toBe(MAX_IN_FLIGHT);
  // On the second connection the broker does not even acknowledge the birth.
  await broker.until(() => broker.connects.length > before + 1);
  broker.deaf = false;
  await broker.until(() => received(broker).length === 100);
  expect(received(broker)).toEqual(upTo(100));
  expect(outbox.mostInFlight).toBe(MAX_IN_FLIGHT);
});

test("the uplink reports dropped messages when the link is up again", async () => {
  const broker = await openBroker();
  await broker.close();
  const sender = senderAt(broker, { outbox: new MemoryOutbox({ maxBytes: 20_000 }) });
  for (let number = 0; number < 200; number++) send(sender, number);
  await broker.open();
  const report = await broker.until(() => broker.on(eventTopic("outbox.dropped"))[0]);
  const { event, data } = envelopeOf(report);
  const { count } = z.object({ count: z.number(), from: z.iso.datetime(), to: z.iso.datetime() }).parse(data);
  expect(event).toBe("outbox.dropped");
  await broker.until(() => received(broker).length === 200 - count);
  expect(received(broker)).toEqual(upTo(200).slice(count));
});

test("the uplink delivers pictures taken without a link, and publishes the states again to a broker that lost its retained states", async () => {
  const broker = await openBroker();
  const agent = await cameraAt(broker);
  await broker.until(() => broker.on(cameraTopic("about")).length === 1);
  await broker.close();
  const taken = [await agent.captureNow(), await agent.captureNow()].map(({ capture }) => capture);
  await broker.open();
  const previews = await broker.until(() => {
    const topics = broker.received.map(({ topic }) => tree.parse(topic));
    const captures = topics.flatMap((topic) => (topic?.kind === "camera-preview" ? [topic.capture] : []));
    return captures.length === 2 && captures;
  });
  expect(previews).toEqual(taken);
  await broker.until(() => broker.on(cameraTopic("about")).length === 2);
});

test("the uplink waits a random time below a limit that doubles up to its maximum before a reconnect", () => {
  const options = { minMs: 1000, maxMs: 300_000 };
  const longest = [0, 1, 2, 8, 9, 500].map((attempt) => backoffMs(attempt, options, () => 1));
  expect(longest).toEqual([1000, 2000, 4000, 256_000, 300_000, 300_000]);
  expect(backoffMs(5, options, () => 0)).toBe(0);
});

/** The first log line of a camera whose server handles every connection with `answer`. */
async function firstLogLine(answer: (socket: Socket) => void, options: Partial<SenderOptions> = {}): Promise<string> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    answer(socket);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const address = server.address();
  if (address === null || typeof address === "string") expect.fail("no port");
  const lines: string[] = [];
  const sender = new Sender({
    ...{ tree, owner: { kind: "camera", id: "north" }, secret: "s3cret", outbox: new MemoryOutbox() },
    ...{ brokerUrl: `mqtt://127.0.0.1:${address.port}`, reconnect: quickly, now: () => new Date() },
    logger: pino({ level: "warn" }, { write: (line: string) => lines.push(line) }),
    ...options,
  });
  sender.start();
  onTestFinished(() => sender.stop());
  return vi.waitUntil(() => lines.at(0));
}

test("the uplink logs why the link failed and what to do, whatever the server does", async () => {
  expect(await firstLogLine((socket) => socket.end())).toMatch(/link failed/);
  expect(await firstLogLine((socket) => socket.end())).toMatch(/closed without an answer.*server's log/);
  expect(await firstLogLine(() => {}, { connectTimeoutMs: 100 })).toMatch(/connack timeout.*is the server running/);
  expect(await firstLogLine((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n"))).toMatch(/does not speak MQTT/);
  expect(await firstLogLine((socket) => socket.end(Buffer.from([0x20, 2, 0, 4])))).toMatch(/password.*CAMERA_SECRET/);
  expect(await firstLogLine(() => {}, { brokerUrl: "mqtt://127.0.0.1:1" })).toMatch(
    /"broker":"mqtt:\/\/127.0.0.1:1".*ECONNREFUSED.*nothing listens there/,
  );
});

import { spawn } from "node:child_process";
import { connectAsync, type IClientOptions, type MqttClient } from "mqtt";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { BadLink } from "../support/bad-link.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { LONG, TIMEOUT_MS, WAIT_MS } from "../support/long-form.ts";
import { startRunningClock } from "../support/running-clock.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";
import { Publisher } from "./publisher.ts";
import { SessionCrowd } from "./session-crowd.ts";

const CUTS = LONG ? 100 : 5;
const MESSAGES_PER_PUBLISHER = LONG ? 12_500 : 200;
const PUBLISHERS = 4;
/** The clients send about this many bytes between two cuts. */
const CUT_BYTES = 20_000;
const KEEPALIVE_S = 1;
/** How long a message may take to the other member once the server has closed the connection. */
const PATIENCE_MS = 1_000;
const WAITING = 20;
const GROUP = "$share/workers/outside/work";
const now = startRunningClock();

const dataPath = makeDataPath();
let skylapse: Skylapse;

beforeAll(async () => {
  const limits = { RETENTION_EVENTS: "200000", MAX_OFFLINE_MESSAGES: "0", MAX_OFFLINE_BYTES: "0" };
  skylapse = await startSkylapse({ dataPath, env: { JWT_SECRET, LOG_LEVEL: "warn", ...limits } });
});
afterAll(async () => {
  await skylapse.end();
  removeDataPath(dataPath);
});

const portOf = (url: string) => Number(new URL(url).port);
const token = () => signToken("worker", ["admin"]);

async function badLink(): Promise<BadLink> {
  const link = await BadLink.open(portOf(skylapse.mqtt));
  onTestFinished(() => link.close());
  return link;
}

it(`loses nothing of publishers, sessions and share groups of MQTT 3.1.1 and 5 over a link that is cut ${CUTS} times`, {
  timeout: TIMEOUT_MS,
}, async () => {
  const link = await badLink();
  const url = `mqtt://127.0.0.1:${link.port}`;
  const sessions = new SessionCrowd(link.port);
  onTestFinished(() => sessions.stop());
  await sessions.subscribed();
  const publishers = [
    new Publisher(url, "north", MESSAGES_PER_PUBLISHER),
    new Publisher(url, "south", MESSAGES_PER_PUBLISHER, { qos: 2, isFive: true }),
    new Publisher(url, "east", MESSAGES_PER_PUBLISHER, { isOutside: true, isFive: true }),
    new Publisher(url, "west", MESSAGES_PER_PUBLISHER, { isOutside: true, qos: 2 }),
  ];
  onTestFinished(() => {
    for (const publisher of publishers) publisher.stop();
  });
  const total = PUBLISHERS * MESSAGES_PER_PUBLISHER;
  const acknowledged = () => publishers.reduce((sum, publisher) => sum + publisher.acknowledged.size, 0);
  for (let cut = 0; cut < CUTS; cut++) {
    const part = ((cut + 0.5 * Math.random()) / CUTS) * total * 0.95;
    await expect.poll(acknowledged, { interval: 2, timeout: WAIT_MS }).toBeGreaterThanOrEqual(part);
    sessions.toggle();
    link.cutAfter(1 + Math.floor(Math.random() * CUT_BYTES));
    if (cut % 5 !== 4) continue;
    // The link loses all bytes while the server answers two requests.
    link.silent = true;
    await fetch(`${skylapse.http}/readyz`);
    await fetch(`${skylapse.http}/readyz`);
    link.silent = false;
  }
  await Promise.all(publishers.map((publisher) => publisher.done));
  sessions.comeAll();
  await sessions.expectNoFaults(publishers);
});

/** The other member has less room, so most messages go to the member that does not acknowledge them. */
const LITTLE_ROOM = { properties: { receiveMaximum: 5 } };

/** A member of the group of MQTT 5, which acknowledges by itself, and the payloads that it got. */
async function member(url: string, clientId: string, options: IClientOptions = {}): Promise<string[]> {
  const received: string[] = [];
  const client = await join(url, clientId, options);
  client.on("message", (_topic, payload) => received.push(payload.toString()));
  await client.subscribeAsync(GROUP, { qos: 1 });
  return received;
}

async function join(url: string, clientId: string, options: IClientOptions = {}): Promise<MqttClient> {
  const login = { username: "worker", password: token(), clientId, protocolVersion: 5, reconnectPeriod: 0 } as const;
  const client = await connectAsync(url, { ...login, ...options });
  client.on("error", () => {});
  onTestFinished(() => client.endAsync(true));
  return client;
}

/** Publishes messages of which the other member cannot get some. @returns all of them */
async function publish(): Promise<string[]> {
  const writer = await join(skylapse.mqtt, "writer");
  const payloads = Array.from({ length: WAITING }, (_, index) => `message ${String(index).padStart(2, "0")}`);
  for (const payload of payloads) await writer.publishAsync("outside/work", payload, { qos: 1 });
  return payloads;
}

it("another member of a group gets what a member behind a dead link has not acknowledged within 1.5 times its keep-alive", async () => {
  const link = await badLink();
  const lost = await member(`mqtt://127.0.0.1:${link.port}`, "lost", {
    ...{ keepalive: KEEPALIVE_S, properties: { receiveMaximum: WAITING } },
  });
  const present = await member(skylapse.mqtt, "present", LITTLE_ROOM);
  link.silent = true;
  const silentAt = now();
  const payloads = await publish();
  expect(present.length).toBeLessThan(WAITING);
  await expect.poll(() => [...present].sort(), { interval: 5 }).toEqual(payloads);
  // The first messages came last: another member had them.
  expect(present).not.toEqual(payloads);
  const waitedMs = now() - silentAt;
  expect(lost).toEqual([]);
  expect(waitedMs).toBeLessThan(1.5 * KEEPALIVE_S * 1_000 + PATIENCE_MS);
  process.stdout.write(`behind a dead link, keep-alive ${KEEPALIVE_S} s: after ${Math.round(waitedMs)} ms\n`);
});

it("another member of a group gets at once what a member has not acknowledged whose process is killed", async () => {
  const at = ["-h", "127.0.0.1", "-p", String(portOf(skylapse.mqtt)), "-u", "worker", "-P", token()];
  const args = [...at, "-V", "5", "-d", "-i", "killed", "-q", "1", "-t", GROUP];
  // With a line buffer, so that its report of the subscription comes at once. stdbuf becomes mosquitto_sub.
  const child = spawn("stdbuf", ["-oL", "mosquitto_sub", ...args]);
  onTestFinished(() => void child.kill("SIGKILL"));
  let output = "";
  child.stdout.on("data", (chunk) => {
    output += String(chunk);
  });
  await expect.poll(() => output).toContain("Subscribed");
  const present = await member(skylapse.mqtt, "present", LITTLE_ROOM);
  child.kill("SIGSTOP");
  const payloads = await publish();
  expect(present.length).toBeLessThan(WAITING);
  const killedAt = now();
  child.kill("SIGKILL");
  await expect.poll(() => [...present].sort(), { interval: 5 }).toEqual(payloads);
  // The first messages came last: another member had them.
  expect(present).not.toEqual(payloads);
  const waitedMs = now() - killedAt;
  expect(waitedMs).toBeLessThan(PATIENCE_MS);
  process.stdout.write(`process killed: after ${Math.round(waitedMs)} ms\n`);
});

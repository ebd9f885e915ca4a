import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import mqtt from "mqtt";
import { pino } from "pino";
import sharp from "sharp";
import { afterEach, beforeEach, expect, it } from "vitest";
import { z } from "zod";
import { linkSchema } from "../../contract/events.ts";
import type { DashboardEvent } from "../../contract/socket-messages.ts";
import { type CameraAgent, startCamera } from "../../device/agent.ts";
import type { CameraDriver } from "../../device/cameras/camera-driver.ts";
import { BadLink } from "../support/bad-link.ts";
import { type Dashboard, JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import { addCamera } from "../support/devices.ts";
import { LONG, TIMEOUT_MS } from "../support/long-form.ts";
import { startRunningClock } from "../support/running-clock.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

/** The short form. `npm run test:long` does the long form. */
/** The number of captures. Each capture causes two events. */
const CAPTURES = LONG ? 1000 : 300;
/** A backlog may delay urgent messages by at most this many milliseconds of {@link startRunningClock}. */
const PATIENCE_MS = 2000;
const now = startRunningClock();
const GAP_SETTLE_S = 10;
const STORAGE_BYTES = 1_000_000_000;

const cleanUps: (() => Promise<unknown> | unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

let secret: string;
let skylapse: Skylapse;
let link: BadLink;
let dashboard: Dashboard;

beforeEach(async () => {
  const dataPath = makeDataPath();
  cleanUps.push(() => removeDataPath(dataPath));
  secret = await addCamera(dataPath, "north");
  // Short enough for the test to wait for the report of a gap.
  const quick = { LINK_GAP_SETTLE_SECONDS: String(GAP_SETTLE_S) };
  const env = { JWT_SECRET, LOG_LEVEL: "warn", RETENTION_EVENTS: "100000", ...quick };
  skylapse = await startSkylapse({ dataPath, env });
  cleanUps.push(() => skylapse.end());
  link = await BadLink.open(Number(new URL(skylapse.mqtt).port));
  cleanUps.push(() => link.close());
  dashboard = await openDashboard(skylapse.socket, signToken("alice", ["dashboard:read", "camera:control"]));
  cleanUps.push(() => dashboard.close());
});

interface Numbered {
  agent: CameraAgent;
  /** The number of pictures so far. It is each picture's width, so that the test can tell the pictures apart. */
  taken: number;
  take(count: number): Promise<void>;
}

async function startNumbered(previewEvery: number, readingsIntervalS: number): Promise<Numbered> {
  const dataPath = mkdtempSync(join(tmpdir(), "skylapse-bad-link-"));
  cleanUps.push(() => rmSync(dataPath, { recursive: true, force: true }));
  const noise = Buffer.from(Uint8Array.from({ length: 320 * 240 * 3 }, () => Math.random() * 256));
  const jpeg = await sharp(noise, { raw: { width: 320, height: 240, channels: 3 } })
    .jpeg()
    .toBuffer();
  const camera: CameraDriver = {
    about: { model: "Numbered", firmware: "1" },
    capture: async () => ({ jpeg, width: ++numbered.taken, height: 1, settings: {} }),
    readings: () => ({ storage: { total_bytes: STORAGE_BYTES, free_bytes: STORAGE_BYTES - numbered.taken } }),
  };
  const numbered: Numbered = {
    taken: 0,
    agent: await startCamera({
      config: {
        id: "north",
        secret,
        brokerUrl: `mqtt://127.0.0.1:${link.port}`,
        topicRoot: "skylapse/v1",
        location: { lat: 46, lon: 7.7, timezone: "Europe/Zurich" },
        captureIntervalS: 86_400,
        readingsIntervalS,
        // The camera sends every reading, so that the test can count the readings.
        readingsMaxAgeS: 0,
        preview: { width: 320, maxBytes: 65_536, every: previewEvery, onDemand: previewEvery > 0 },
        dataPath,
        outboxBytes: 64 * 1024 * 1024,
        reconnect: { minMs: 50, maxMs: 500 },
        timeouts: { connectTimeoutMs: 6000, ackTimeoutMs: 6000 },
        rebootMs: 50,
      },
      camera,
      logger: pino({ level: process.env.LOG_LEVEL ?? "silent" }),
    }),
    take: async (count) => {
      for (let n = 0; n < count; n++) await numbered.agent.captureNow();
    },
  };
  cleanUps.push(() => numbered.agent.stop());
  return numbered;
}

const widthSchema = z.object({ width: z.number() });

function eventsNamed(name: string): DashboardEvent[] {
  return dashboard.messages.filter(
    (message): message is DashboardEvent => message.type === "dashboard_event" && message.event === name,
  );
}

const widths = (events: readonly DashboardEvent[]): number[] => events.map(({ data }) => widthSchema.parse(data).width);

const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);

const ascending = (numbers: readonly number[]): number[] => [...numbers].sort((a, b) => a - b);

async function shown(width: number, sinceMs: number): Promise<number> {
  await dashboard.next(
    "dashboard_event",
    ({ event, data }) => event === "capture.completed" && widthSchema.parse(data).width === width,
  );
  return now() - sinceMs;
}

/** Receives every link message without the bad link. */
async function watchLink(): Promise<{ status: string; at: number }[]> {
  const words: { status: string; at: number }[] = [];
  const watcher = mqtt.connect(skylapse.mqtt, {
    username: "watcher",
    password: signToken("watcher", ["camera:read"]),
    reconnectPeriod: 0,
  });
  cleanUps.push(() => watcher.endAsync(true));
  watcher.on("message", (_, payload) => {
    const { status } = linkSchema.parse(z.object({ data: z.unknown() }).parse(JSON.parse(String(payload))).data);
    words.push({ status, at: now() });
  });
  await new Promise<void>((resolve) => watcher.once("connect", () => resolve()));
  await watcher.subscribeAsync("skylapse/v1/cameras/north/link", { qos: 1 });
  return words;
}

/**
 * Checks that each event arrived once, live events in order, late events in order, and no state after a newer state.
 */
function expectAllInOrder(count: number): void {
  for (const name of ["capture.started", "capture.completed"]) {
    const ids = eventsNamed(name).map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toHaveLength(count);
  }
  const completed = eventsNamed("capture.completed");
  expect(ascending(widths(completed))).toEqual(upTo(count));
  for (const late of [true, false]) {
    const some = widths(completed.filter(({ historical = false }) => historical === late));
    expect(some).toEqual(ascending(some));
  }
  const free = eventsNamed("resource.update")
    .filter(({ topic, historical }) => topic === "cameras/north/state/storage" && historical !== true)
    .map(({ data }) => z.object({ free_bytes: z.number() }).parse(data).free_bytes);
  expect(free).toEqual(ascending(free).reverse());
}

it(`delivers ${2 * CAPTURES} events once and in order over a slow link that is cut, falls silent and disappears`, {
  timeout: TIMEOUT_MS,
}, async () => {
  const { agent, take } = await startNumbered(0, 0.5);
  const part = CAPTURES / 10;
  link.delayMs = 800;
  await take(2 * part);
  // The link is cut repeatedly, at any byte of a packet.
  link.delayMs = 20;
  for (let cut = 0; cut < (LONG ? 50 : 15); cut++) {
    link.cutAfter(1 + Math.floor(Math.random() * 3000));
    await take(Math.floor((3 * part) / (LONG ? 50 : 15)));
    await expect.poll(() => agent.waiting).toBeLessThan(part);
  }
  // The link accepts data and answers nothing.
  link.silent = true;
  await take(2 * part);
  const attempts = link.connectedAt.length;
  await expect.poll(() => link.connectedAt.length).toBeGreaterThan(attempts);
  link.silent = false;
  // The link is down for a long time.
  link.down = true;
  const rest = CAPTURES - widthsTaken();
  await take(rest);
  link.down = false;
  await expect.poll(() => agent.waiting).toBe(0);
  await expect.poll(() => eventsNamed("capture.completed").length).toBe(CAPTURES);
  expectAllInOrder(CAPTURES);
  // Late messages cause no gap, even after the waiting time.
  const settled = Date.now() + (GAP_SETTLE_S + 1) * 1000;
  await dashboard.next(
    "dashboard_event",
    ({ event, timestamp }) => event === "resource.update" && Date.parse(timestamp) > settled,
  );
  expect(eventsNamed("link.gap")).toEqual([]);
  // The gap detection works: skipped numbers are reported.
  await agent.stop();
  const forgetful = await mqtt.connectAsync(skylapse.mqtt, { username: "north", password: secret });
  cleanUps.push(() => forgetful.endAsync(true));
  let seq = 1_000_000;
  const skipped = async (): Promise<number> => {
    const said = { v: 1, id: `late-${++seq}`, timestamp: new Date().toISOString(), session: "s", seq, event: "hello" };
    await forgetful.publishAsync("skylapse/v1/cameras/north/events/hello", JSON.stringify(said), { qos: 1 });
    return eventsNamed("link.gap").length;
  };
  await expect.poll(skipped, { interval: 500 }).toBe(1);
  expect(eventsNamed("link.gap")[0]?.data).toMatchObject({ reason: "missing", last_seq: 1_000_000 });

  function widthsTaken(): number {
    return 2 * part + (LONG ? 50 : 15) * Math.floor((3 * part) / (LONG ? 50 : 15)) + 2 * part;
  }
});

it("delays no birth, sleep message or new event by 2 s or more during a backlog on a link of 2 kB/s", {
  timeout: TIMEOUT_MS,
}, async () => {
  const { agent, take } = await startNumbered(1, 5);
  const pictures = 60;
  const words = await watchLink();
  await expect.poll(() => words.at(-1)?.status).toBe("online");
  // Fills a backlog that needs minutes on the slow link.
  link.down = true;
  await expect.poll(() => link.connectedAt.length).toBeGreaterThan(0);
  await take(pictures);
  link.bytesPerS = 2000;
  const births = words.length;
  const connections = link.connectedAt.length;
  link.down = false;
  await expect.poll(() => link.connectedAt.length, { interval: 2 }).toBeGreaterThan(connections);
  const connectedAt = now();
  await expect.poll(() => words.slice(births).some(({ status }) => status === "online")).toBe(true);
  const birth = words.slice(births).find(({ status }) => status === "online");
  expect((birth?.at ?? 0) - connectedAt).toBeLessThan(PATIENCE_MS);
  // After connecting, the camera sends its states before the backlog.
  const states = () => eventsNamed("resource.update").filter(({ snapshot }) => snapshot !== true);
  await expect
    .poll(() => states().at(-1)?.data)
    .toMatchObject({
      free_bytes: STORAGE_BYTES - pictures,
    });
  const delays: number[] = [];
  for (let n = 1; n <= (LONG ? 10 : 4); n++) {
    const backlog = agent.waiting;
    const at = now();
    await take(1);
    delays.push(await shown(pictures + n, at));
    expect(backlog).toBeGreaterThan(4);
  }
  // The preview of the last capture is not backlog, so the camera may send this preview before the sleep message.
  await expect.poll(() => eventsNamed("preview.updated").length).toBeGreaterThanOrEqual(delays.length);
  const at = now();
  const before = words.length;
  dashboard.send({ type: "command", camera: "north", name: "reboot", args: {}, id: 1 });
  await expect.poll(() => words.slice(before).some(({ status }) => status === "sleeping")).toBe(true);
  const farewell = (words.slice(before).find(({ status }) => status === "sleeping")?.at ?? 0) - at;
  process.stdout.write(
    `2 kB/s, backlog of ${2 * pictures} events: birth after ${Math.round((birth?.at ?? 0) - connectedAt)} ms, ` +
      `new events after ${delays.map(Math.round).join(", ")} ms, farewell after ${Math.round(farewell)} ms\n`,
  );
  expect(Math.max(...delays)).toBeLessThan(PATIENCE_MS);
  expect(farewell).toBeLessThan(PATIENCE_MS);
  link.bytesPerS = undefined;
  await expect.poll(() => agent.waiting).toBe(0);
  const total = pictures + (LONG ? 10 : 4);
  await expect.poll(() => eventsNamed("capture.completed").length).toBe(total);
  expectAllInOrder(total);
});

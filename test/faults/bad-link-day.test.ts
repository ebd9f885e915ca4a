import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import sharp from "sharp";
import { afterEach, expect, it } from "vitest";
import { z } from "zod";
import type { DashboardEvent } from "../../contract/socket-messages.ts";
import { startCamera } from "../../device/agent.ts";
import { DeviceClock } from "../../device/host/clock.ts";
import { BadLink } from "../support/bad-link.ts";
import { JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import { addCamera } from "../support/devices.ts";
import { LONG, TIMEOUT_MS } from "../support/long-form.ts";
import { makeDataPath, removeDataPath, startSkylapse } from "../support/skylapse.ts";

const INTERVAL_MS = 30_000;
/** The long form is a day. */
const HOURS = LONG ? 24 : 6;
const CAPTURES = HOURS * 120;
const EVENTS = 2 * CAPTURES;

const cleanUps: (() => Promise<unknown> | unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

it(`sends the newest events first after ${HOURS} hours without a link, and then all events of these hours`, {
  timeout: TIMEOUT_MS,
}, async () => {
  const dataPath = makeDataPath();
  cleanUps.push(() => removeDataPath(dataPath));
  const secret = await addCamera(dataPath, "north");
  const skylapse = await startSkylapse({
    dataPath,
    env: { JWT_SECRET, LOG_LEVEL: "warn", RETENTION_EVENTS: "100000", RETENTION_HOURS: "48" },
  });
  cleanUps.push(() => skylapse.end());
  const link = await BadLink.open(Number(new URL(skylapse.mqtt).port));
  cleanUps.push(() => link.close());
  const dashboard = await openDashboard(skylapse.socket, signToken("alice", ["dashboard:read"]));
  cleanUps.push(() => dashboard.close());
  const events = (): DashboardEvent[] =>
    dashboard.messages.filter((message): message is DashboardEvent => message.type === "dashboard_event");

  // The camera has a fake clock, which advances by hours while the camera writes the pictures of these hours to a real disk.
  let now = Date.now() - CAPTURES * INTERVAL_MS;
  const path = mkdtempSync(join(tmpdir(), "skylapse-day-"));
  cleanUps.push(() => rmSync(path, { recursive: true, force: true }));
  const grey = { create: { width: 160, height: 120, channels: 3, background: "grey" } } as const;
  const jpeg = await sharp(grey).jpeg().toBuffer();
  link.down = true;
  const agent = await startCamera({
    config: {
      id: "north",
      secret,
      brokerUrl: `mqtt://127.0.0.1:${link.port}`,
      topicRoot: "skylapse/v1",
      location: { lat: 46, lon: 7.7, timezone: "Europe/Zurich" },
      captureIntervalS: 86_400,
      // Pictures on command only. Otherwise, the capture loop could take its own picture on a busy machine.
      schedule: { entries: [] },
      readingsIntervalS: 86_400,
      preview: { width: 160, maxBytes: 65_536, every: 1 },
      dataPath: path,
      outboxBytes: 512 * 1024 * 1024,
      outboxHours: 48,
      reconnect: { minMs: 100, maxMs: 300 },
    },
    camera: {
      about: { model: "Stand-in", firmware: "1" },
      capture: async () => ({ jpeg, width: 160, height: 120, settings: {} }),
      readings: () => ({ storage: { total_bytes: 1000, free_bytes: 500 } }),
    },
    logger: pino({ level: "silent" }),
    clock: DeviceClock.of(() => new Date(now)),
  });
  cleanUps.push(() => agent.stop());
  const captures: string[] = [];
  for (let n = 0; n < CAPTURES; n++) {
    captures.push((await agent.captureNow()).capture);
    now += INTERVAL_MS;
  }

  link.down = false;
  await expect.poll(() => events().some(({ historical }) => historical === true)).toBe(true);
  const states = events().filter(({ topic, snapshot }) => topic?.startsWith("cameras/north/state/") && !snapshot);
  const firstLate = events().find(({ historical }) => historical === true)?.position ?? 0;
  for (const name of ["presence", "settings", "schedule", "capture", "environment", "storage"]) {
    const state = states.find(({ topic }) => topic === `cameras/north/state/${name}`);
    expect(state?.position, name).toBeLessThan(firstLate);
  }

  const count = (name: string): number =>
    dashboard.messages.reduce((sum, message) => sum + Number("event" in message && message.event === name), 0);
  const from = performance.now();
  const captured = (name: string): string[] =>
    events()
      .filter(({ event }) => event === name)
      .map(({ data }) => z.object({ capture: z.string() }).parse(data).capture);
  await expect.poll(() => count("capture.completed"), { timeout: 240_000, interval: 20 }).toBe(CAPTURES);
  const eventsPerS = EVENTS / ((performance.now() - from) / 1000);
  await expect.poll(() => agent.waiting, { timeout: 240_000, interval: 20 }).toBe(0);
  const allPerS = (EVENTS + CAPTURES) / ((performance.now() - from) / 1000);
  process.stdout.write(
    `a backlog of ${HOURS} hours: ${EVENTS} events at ${Math.round(eventsPerS)}/s, ` +
      `with ${CAPTURES} previews ${Math.round(allPerS)} messages/s, each acknowledged when durable\n`,
  );
  expect(captured("capture.completed")).toEqual(captures);
  const late = events().filter(({ historical, event }) => historical === true && event !== "preview.updated");
  expect(late).toHaveLength(EVENTS);
  const times = late.map(({ timestamp }) => timestamp);
  expect(times).toEqual([...times].sort());
  const pictures = (): number => new Set(captured("preview.updated")).size;
  await expect.poll(pictures).toBe(CAPTURES);
});

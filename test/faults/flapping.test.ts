import { setTimeout as pause } from "node:timers/promises";
import mqtt from "mqtt";
import { afterEach, beforeEach, expect, it } from "vitest";
import { z } from "zod";
import { linkSchema, presenceSchema } from "../../contract/events.ts";
import type { DashboardEvent } from "../../contract/socket-messages.ts";
import { BadLink } from "../support/bad-link.ts";
import { launchBrowser } from "../support/browser.ts";
import { watchCameraPage } from "../support/camera-page.ts";
import { type CameraProgram, startCameraProgram } from "../support/camera-program.ts";
import { type Dashboard, JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import { addCamera } from "../support/devices.ts";
import { LONG, TIMEOUT_MS } from "../support/long-form.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

/** The short form. `npm run test:long` flaps every 5 s for a minute, with the default grace period. */
const FLAPS = LONG ? 12 : 6;
const BETWEEN_FLAPS_MS = LONG ? 5000 : 0;
const GRACE_MS = LONG ? 30_000 : 5000;

const cleanUps: (() => Promise<unknown> | unknown)[] = [];
let secret: string;
let skylapse: Skylapse;
let link: BadLink;
let dashboard: Dashboard;
/** Receives every link message, with its session, without the bad link. */
let words: { status: string; session: string }[];

beforeEach(async () => {
  const dataPath = makeDataPath();
  cleanUps.push(() => removeDataPath(dataPath));
  secret = await addCamera(dataPath, "north");
  skylapse = await startSkylapse({
    dataPath,
    env: { JWT_SECRET, LOG_LEVEL: "warn", ...(LONG ? {} : { PRESENCE_GRACE_MS: String(GRACE_MS) }) },
  });
  cleanUps.push(() => skylapse.end());
  link = await BadLink.open(Number(new URL(skylapse.mqtt).port));
  cleanUps.push(() => link.close());
  dashboard = await openDashboard(skylapse.socket, signToken("alice", ["dashboard:read"]));
  cleanUps.push(() => dashboard.close());
  words = await watchLink();
});

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function watchLink(): Promise<typeof words> {
  const heard: typeof words = [];
  const password = signToken("watcher", ["camera:read"]);
  const watcher = await mqtt.connectAsync(skylapse.mqtt, { username: "watcher", password, reconnectPeriod: 0 });
  cleanUps.push(() => watcher.endAsync(true));
  watcher.on("message", (_, payload) => {
    heard.push(linkSchema.parse(z.object({ data: z.unknown() }).parse(JSON.parse(String(payload))).data));
  });
  await watcher.subscribeAsync("skylapse/v1/cameras/north/link", { qos: 1 });
  return heard;
}

async function startCamera(env: Record<string, string> = {}): Promise<CameraProgram> {
  const camera = await startCameraProgram({ brokerUrl: `mqtt://127.0.0.1:${link.port}`, secret, env });
  cleanUps.push(() => camera.end());
  return camera;
}

const births = (): number => words.filter(({ status }) => status === "online").length;

const events = (): DashboardEvent[] =>
  dashboard.messages.filter((message): message is DashboardEvent => message.type === "dashboard_event");

const presences = (): string[] =>
  events()
    .filter(({ topic }) => topic === "cameras/north/state/presence")
    .map(({ data }) => presenceSchema.parse(data).status);

const duplicateAlerts = (): string[] =>
  events()
    .filter(({ topic }) => topic === "cameras/north/alerts/duplicate-client-id")
    .map(({ event }) => event);

it(`keeps a camera online while its link flaps ${FLAPS} times, and reports no duplicate`, {
  timeout: TIMEOUT_MS,
}, async () => {
  const camera = await startCamera();
  const { browser, end } = await launchBrowser();
  cleanUps.push(end);
  const { shown } = await watchCameraPage(browser, skylapse.http, "north");
  for (let flap = 1; flap <= FLAPS; flap++) {
    const before = births();
    // Every third time, the broker sees the end of the connection. Otherwise, the camera's new connection replaces its
    // own earlier one, which is still open.
    if (flap % 3 === 0) link.cut();
    else link.abandon();
    await Promise.all([expect.poll(births, { interval: 10 }).toBe(before + 1), pause(BETWEEN_FLAPS_MS)]);
  }
  await expect.poll(() => words.filter(({ status }) => status === "offline")).toHaveLength(FLAPS);
  // After this time, no will can have an effect.
  const taken = camera.captures().length;
  await expect
    .poll(() => camera.captures().length, { timeout: GRACE_MS + 60_000 })
    .toBeGreaterThan(taken + GRACE_MS / 1000);
  expect(presences()).not.toContain("offline");
  expect(shown.map(({ status }) => status)).not.toContain("offline");
  expect(presences().at(-1)).not.toBe("unknown");
  expect(duplicateAlerts()).toEqual([]);
  // The retained link message is correct, too.
  const kept = await watchLink();
  await expect.poll(() => kept.map(({ status }) => status)).toEqual(["online"]);
});

it("reports two cameras with one id once, and reports no camera as offline", async () => {
  await startCamera({ CAPTURE_INTERVAL_S: "3600" });
  await expect.poll(births).toBe(1);
  await startCamera({ CAPTURE_INTERVAL_S: "3600" });
  await expect.poll(duplicateAlerts).toEqual(["alert.raised"]);
  const before = births();
  await expect.poll(births).toBeGreaterThan(before + 2);
  expect(duplicateAlerts()).toEqual(["alert.raised"]);
  expect(presences()).not.toContain("offline");
});

import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { z } from "zod";
import type { DashboardEvent } from "../../contract/socket-messages.ts";
import { BadLink } from "../support/bad-link.ts";
import { launchBrowser } from "../support/browser.ts";
import { type CameraPage, watchCameraPage } from "../support/camera-page.ts";
import { type CameraProgram, startCameraProgram } from "../support/camera-program.ts";
import { type Dashboard, JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import { addCamera } from "../support/devices.ts";
import { LONG, TIMEOUT_MS } from "../support/long-form.ts";
import { makeDataPath, removeDataPath, startSkylapse } from "../support/skylapse.ts";

/** The short form. `npm run test:long` uses the default grace period. */
const GRACE_MS = LONG ? 30_000 : 4000;
/** The camera's keep-alive. After 1.5 times this time, the broker regards a silent link as lost [MQTT-3.1.2-24]. */
const KEEPALIVE_S = 30;
const KEEPALIVE_MS = KEEPALIVE_S * 1500;

/** Gaps are reported after 3 s, so that the report of a lost message would arrive before the test ends. */
const QUICK_GAPS = { LINK_GAP_SETTLE_SECONDS: "3" };

const cleanUps: (() => Promise<unknown> | unknown)[] = [];
let link: BadLink;
let camera: CameraProgram;
let dashboard: Dashboard;
let page: CameraPage;

beforeAll(async () => {
  const dataPath = makeDataPath();
  cleanUps.push(() => removeDataPath(dataPath));
  const secret = await addCamera(dataPath, "north");
  const skylapse = await startSkylapse({
    dataPath,
    env: { JWT_SECRET, LOG_LEVEL: "warn", ...(LONG ? {} : { PRESENCE_GRACE_MS: String(GRACE_MS) }), ...QUICK_GAPS },
  });
  cleanUps.push(() => skylapse.end());
  link = await BadLink.open(Number(new URL(skylapse.mqtt).port));
  cleanUps.push(() => link.close());
  dashboard = await openDashboard(skylapse.socket, signToken("alice", ["dashboard:read"]));
  cleanUps.push(() => dashboard.close());
  camera = await startCameraProgram({
    brokerUrl: `mqtt://127.0.0.1:${link.port}`,
    secret,
    env: { KEEPALIVE_S: String(KEEPALIVE_S) },
  });
  cleanUps.push(() => camera.end());
  const { browser, end } = await launchBrowser();
  cleanUps.push(end);
  page = await watchCameraPage(browser, skylapse.http, "north");
});

afterAll(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

beforeEach(async () => {
  await page.page.locator('[data-testid="camera-status-north"][data-status="online"]').waitFor();
  page.shown.splice(0);
});

const captureSchema = z.object({ capture: z.string() });

/** The captures that the dashboard received, including repetitions. */
function told(): string[] {
  return dashboard.messages
    .filter(
      (message): message is DashboardEvent =>
        message.type === "dashboard_event" && message.event === "capture.completed",
    )
    .map(({ data }) => captureSchema.parse(data).capture);
}

async function takeMore(count: number): Promise<void> {
  const before = camera.captures().length;
  await expect
    .poll(() => camera.captures().length, { timeout: 60_000 + count * 2000 })
    .toBeGreaterThanOrEqual(before + count);
}

/** The absences that the page has shown. A camera with late pictures is not absent: its status is `stale`. */
const absences = () => page.shown.filter(({ status }) => status !== "online" && status !== "stale");
const isBack = (): boolean => page.shown.at(-1)?.status === "online";

/** Waits until the page shows the camera and the dashboard has each of its pictures once. */
async function expectNothingLost(): Promise<void> {
  const taken = camera.captures();
  await expect.poll(() => taken.filter((capture) => !told().includes(capture))).toEqual([]);
  expect(told()).toHaveLength(new Set(told()).size);
  expect(await page.page.getByTestId("gaps-north").count()).toBe(0);
}

it("reports an unplugged camera as offline exactly at the end of the grace period, later as online, and loses no event", async () => {
  const cutAt = Date.now();
  link.down = true;
  await expect.poll(absences).toHaveLength(1);
  const [absence] = absences();
  expect(absence?.status).toBe("offline");
  expect((absence?.at ?? 0) - cutAt).toBeGreaterThanOrEqual(GRACE_MS);
  await takeMore(2);
  expect(isBack()).toBe(false);
  link.down = false;
  await expect.poll(isBack).toBe(true);
  await expectNothingLost();
  expect(absences()).toEqual([absence]);
});

it("reports no absence and loses no event if a silent link returns in time", async () => {
  link.silent = true;
  // The silence lasts longer than the grace period, which begins only when the broker notices the silence.
  await takeMore(GRACE_MS / 1000 + 1);
  link.silent = false;
  await expectNothingLost();
  // After this time, the will of the silent connection can have no effect.
  await takeMore(GRACE_MS / 1000 + 1);
  await expectNothingLost();
  expect(absences()).toEqual([]);
});

if (LONG)
  it("reports a camera with a silent link as offline at the end of the grace period after the broker's timeout", {
    timeout: TIMEOUT_MS,
  }, async () => {
    const silentAt = Date.now();
    link.silent = true;
    await expect
      .poll(absences, { timeout: KEEPALIVE_MS + GRACE_MS + 60_000, interval: 500 })
      .toMatchObject([{ status: "offline" }]);
    // Allows 2 s less, because the camera may have sent its last message before `silentAt`.
    expect((absences()[0]?.at ?? 0) - silentAt).toBeGreaterThanOrEqual(KEEPALIVE_MS + GRACE_MS - 2000);
    link.silent = false;
    await expect.poll(isBack).toBe(true);
    await expectNothingLost();
  });

import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { z } from "zod";
import type { DashboardEvent } from "../../contract/socket-messages.ts";
import { BadLink } from "../support/bad-link.ts";
import { launchBrowser } from "../support/browser.ts";
import { type CameraPage, watchCameraPage } from "../support/camera-page.ts";
import { type CameraProgram, startCameraProgram } from "../support/camera-program.ts";
import { type Dashboard, JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import { addCamera } from "../support/devices.ts";
import { makeDataPath, removeDataPath, startSkylapse } from "../support/skylapse.ts";

/** The short form; `npm run test:long` runs it with the grace that is the default. */
const LONG = process.env.LONG_TESTS !== undefined;
const GRACE_MS = LONG ? 30_000 : 4000;
/** The camera's own setting. After one and a half times as long the broker takes a silent link for lost [MQTT-3.1.2-24]. */
const KEEPALIVE_S = 30;
const KEEPALIVE_MS = KEEPALIVE_S * 1500;

/** What is missing is said soon, so that a test which sees nothing missing has looked. */
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

/** The pictures that the dashboard was told of, as often as it was. */
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

/** What the page has shown since the camera was online. Pictures that are late make it stale, which is no absence. */
const absences = () => page.shown.filter(({ status }) => status !== "online" && status !== "stale");
const isBack = (): boolean => page.shown.at(-1)?.status === "online";

/** The page shows the camera, and the dashboard has each of its pictures once. */
async function expectNothingLost(): Promise<void> {
  const taken = camera.captures();
  await expect.poll(() => taken.filter((capture) => !told().includes(capture))).toEqual([]);
  expect(told()).toHaveLength(new Set(told()).size);
  expect(await page.page.getByTestId("gaps-north").count()).toBe(0);
}

it("a camera that is unplugged is offline when the grace is over, not before; plugged in it is online, and nothing is lost", async () => {
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

it("a link that falls silent and comes back in time is no absence, and nothing is lost", async () => {
  link.silent = true;
  // Longer than the grace: it begins when the broker misses the camera.
  await takeMore(GRACE_MS / 1000 + 1);
  link.silent = false;
  await expectNothingLost();
  // By then the will of the connection that ended with the silence has come to nothing.
  await takeMore(GRACE_MS / 1000 + 1);
  await expectNothingLost();
  expect(absences()).toEqual([]);
});

if (LONG)
  it("a camera whose link stays silent is offline when it was missed and the grace is over", {
    timeout: 240_000,
  }, async () => {
    const silentAt = Date.now();
    link.silent = true;
    await expect
      .poll(absences, { timeout: KEEPALIVE_MS + GRACE_MS + 60_000, interval: 500 })
      .toMatchObject([{ status: "offline" }]);
    // What it said last may have been a moment before.
    expect((absences()[0]?.at ?? 0) - silentAt).toBeGreaterThanOrEqual(KEEPALIVE_MS + GRACE_MS - 2000);
    link.silent = false;
    await expect.poll(isBack).toBe(true);
    await expectNothingLost();
  });

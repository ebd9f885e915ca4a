import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { connectAsync, type MqttClient } from "mqtt";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { launchBrowser, letClose, type OwnBrowser } from "../support/browser.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { freePort } from "../support/ports.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const SCREENSHOTS = fileURLToPath(new URL("../../dist/screenshots/", import.meta.url));
const BROWSER_TIMEOUT_MS = 40_000;

let browser: OwnBrowser;
let skylapse: Skylapse;
/** With the cache of the scripts, which the pages of all tests share. */
let context: BrowserContext;
let page: Page;
let dataPath: string;
let env: Record<string, string>;
let faults: string[];

beforeAll(async () => {
  mkdirSync(SCREENSHOTS, { recursive: true });
  browser = await launchBrowser();
  context = await browser.browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-GB" });
  context.setDefaultTimeout(BROWSER_TIMEOUT_MS);
});

afterAll(() => browser.end());

/** Starts a server for all tests of one `describe`, which share the cameras. */
async function serve(simulated: Record<string, string>): Promise<void> {
  dataPath = makeDataPath();
  // A fixed port, because the page reconnects to the same address after a restart.
  env = { JWT_SECRET, WS_PORT: String(await freePort()), ...placeInTheAfternoon(), ...simulated };
  skylapse = await startSkylapse({ dataPath, env });
}

async function stopServing(): Promise<void> {
  await skylapse.end("SIGKILL");
  removeDataPath(dataPath);
}

async function openPage(options: { reducedMotion?: "reduce" } = {}): Promise<void> {
  page = await context.newPage();
  await page.emulateMedia(options);
  faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
}

/** A location where it is now three in the afternoon, so that no picture is taken at night. */
function placeInTheAfternoon(): Record<string, string> {
  const now = new Date();
  const hoursEast = 15 - (now.getUTCHours() + now.getUTCMinutes() / 60);
  const lon = ((((hoursEast * 15 + 180) % 360) + 360) % 360) - 180;
  const zone = Math.round(lon / 15);
  // POSIX inverts the signs: Etc/GMT-2 is two hours east of Greenwich.
  return {
    LOCATION_LAT: "46",
    LOCATION_LON: String(lon),
    TIMEZONE: zone === 0 ? "Etc/GMT" : `Etc/GMT${zone > 0 ? "-" : "+"}${Math.abs(zone)}`,
  };
}

const text = async (testId: string) => (await page.getByTestId(testId).textContent()) ?? "";
const shown = (testId: string) => page.getByTestId(testId).first().waitFor({ state: "visible" });
const pictureSource = (camera: string) =>
  page.evaluate(
    (id) =>
      document.querySelector(`[data-testid="${id}"]`)?.querySelector("img:last-of-type")?.getAttribute("src") ??
      document.querySelector(`img[data-testid="${id}"]`)?.getAttribute("src") ??
      null,
    `live-picture-${camera}`,
  );

async function until(condition: () => Promise<boolean>): Promise<void> {
  await expect.poll(condition, { timeout: BROWSER_TIMEOUT_MS, interval: 50 }).toBe(true);
}

function device(camera: string): Promise<MqttClient> {
  const password = signToken(camera, [`device:${camera}`]);
  return connectAsync(skylapse.mqtt, { username: camera, password, clientId: `test-${camera}` });
}

const about = (timezone: string) => ({
  ...{ model: "m", firmware: "f", name: "West wall", capture_interval_s: 3600 },
  location: { lat: 46, lon: 8, timezone },
});

const pictureShown = () => until(async () => (await pictureSource("north")) !== null);
const connected = () => until(async () => /live|connected/i.test(await text("connection-state")));

describe("the dashboard page", () => {
  beforeAll(() => serve({ SIMULATOR: "1", CAPTURE_INTERVAL_S: "1" }));
  afterAll(stopServing);
  // Without animations, because software rendering of animations costs much CPU time.
  beforeEach(() => openPage({ reducedMotion: "reduce" }));
  afterEach(() => letClose(page));

  it("shows a new picture and a new event without a reload", async () => {
    await page.goto(skylapse.http);
    await connected();
    await pictureShown();
    const source = await pictureSource("north");
    await until(async () => (await pictureSource("north")) !== source);
    expect(await text("camera-status-north")).toMatch(/online/i);
    await page.getByRole("link", { name: "Events" }).click();
    const firstRow = await page.getByTestId("event-row").first().textContent();
    await until(async () => (await page.getByTestId("event-row").first().textContent()) !== firstRow);
    expect(faults).toEqual([]);
  });

  it("takes a picture on request, and shows the outcome", async () => {
    await page.goto(skylapse.http);
    await connected();
    await until(async () => /online/i.test(await text("camera-status-north")));
    await page.getByTestId("capture-now-north").click();
    await until(async () => /taken|succeeded|done/i.test(await text("command-status-north")));
  });

  it("shows that it is offline while the backend is down, and reconnects by itself", async () => {
    await page.goto(skylapse.http);
    await connected();
    await pictureShown();
    await skylapse.end("SIGKILL");
    await shown("offline-banner");
    // The page shows the last known state without the word live.
    expect(await text("connection-state")).not.toMatch(/\blive\b|^connected/i);
    expect(await text("camera-status-north")).not.toMatch(/^online$/i);
    await page.screenshot({ path: `${SCREENSHOTS}offline-1280.png` });

    skylapse = await startSkylapse({ dataPath, env });
    await connected();
    await page.getByTestId("offline-banner").waitFor({ state: "hidden" });
    const source = await pictureSource("north");
    await until(async () => (await pictureSource("north")) !== source);
    expect(faults).toEqual([]);
  });

  it("shows missing events, and an alert until its end", async () => {
    const west = await device("west");
    await page.goto(`${skylapse.http}/#/alerts`);
    await connected();
    const say = (topic: string, data: unknown, retain = false) =>
      west.publishAsync(`skylapse/v1/cameras/west/${topic}`, JSON.stringify(data), { qos: 1, retain });
    await say("about", about("Europe/Zurich"), true);
    await say("state/storage", { total_bytes: 64e9, free_bytes: 6e9 }, true);
    const [from, to] = ["2026-01-01T02:10:00.000Z", "2026-01-01T02:25:00.000Z"];
    await say("events/outbox.dropped", { count: 3, from, to });
    const alert = page.getByTestId("alert-row").filter({ hasText: "West wall" });
    expect(await alert.textContent()).toMatch(/Storage is 90 % full.*West wall.*Acknowledge/);
    // An address of an earlier version names the camera only.
    await page.goto(`${skylapse.http}/#west`);
    await page.getByText("West wall").first().waitFor();
    // The page hides a gap that is older than the pictures, and shows a newer gap in the time zone of the camera.
    expect(await page.getByTestId("gaps-west").count()).toBe(0);
    const at = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString();
    await say("events/outbox.dropped", { count: 12, from: at(75), to: at(60) });
    await shown("gaps-west");
    expect(await text("gaps-west")).toMatch(/12 events never arrived, .*\d\d:\d\d.*–.*\d\d:\d\d CES?T/);
    await page.screenshot({ path: `${SCREENSHOTS}alerts-1280.png` });
    await page.reload();
    await shown("gaps-west");
    await page.getByRole("link", { name: "Alerts" }).click();
    await alert.waitFor();
    await say("state/storage", { total_bytes: 64e9, free_bytes: 32e9 }, true);
    await until(async () => (await alert.count()) === 0);
    await west.endAsync();
    expect(faults).toEqual([]);
  });
});

describe("the dashboard page of several cameras", () => {
  beforeAll(() => serve({ SIMULATOR: "1", CAPTURE_INTERVAL_S: "60" }));
  afterAll(stopServing);
  beforeEach(() => openPage({ reducedMotion: "reduce" }));
  afterEach(() => letClose(page));

  it("opens a camera from its card and from an alert, and goes back", async () => {
    const gateway = await connectAsync(skylapse.mqtt, { username: "gw", password: signToken("gw", ["admin"]) });
    const say = (camera: string, topic: string, data: unknown) =>
      gateway.publishAsync(`skylapse/v1/cameras/${camera}/${topic}`, JSON.stringify(data), { qos: 1, retain: true });
    for (const camera of ["annex", "b-1", "b-2"]) await say(camera, "state/power", { source: "mains" });
    await page.goto(skylapse.http);
    await connected();
    await shown("camera-card-b-2");
    await say("annex", "about", { ...about("Europe/Zurich"), name: "Annex ".repeat(30) });
    await page.getByText("Annex Annex").first().waitFor();

    // The text instead of a picture does not overlap the name of the camera.
    const boxes = await page
      .getByTestId("camera-card-b-1")
      .locator(".picture-empty span, .fleet-name")
      .evaluateAll((all) => all.map((one) => one.getBoundingClientRect()).map(({ top, bottom }) => [top, bottom]));
    expect(boxes).toHaveLength(2);
    expect(boxes[0]?.[1]).toBeLessThanOrEqual(boxes[1]?.[0] ?? 0);

    // The focus outline surrounds the whole card, because an outline of the name alone would be cut off.
    const focused = () => page.evaluate(() => document.activeElement?.className ?? "");
    await until(async () => {
      await page.keyboard.press("Tab");
      return (await focused()).includes("fleet-open");
    });
    const outline = await page.evaluate(() => {
      const card = document.activeElement?.closest(".fleet-card");
      return card === null || card === undefined ? "" : getComputedStyle(card).outlineStyle;
    });
    expect(outline).toBe("solid");
    await page.keyboard.press("Enter");
    await until(async () => /#\/cameras\//.test(page.url()));
    await page.goBack();
    await shown("camera-card-b-2");

    await say("annex", "state/storage", { total_bytes: 100, free_bytes: 4 });
    await page.getByTestId("camera-card-annex").locator(".fleet-alert").waitFor();
    await page.getByRole("link", { name: "Alerts" }).click();
    await shown("alert-row");
    await page.getByTestId("alert-row").getByRole("link").click();
    await until(async () => page.url().endsWith("#/cameras/annex"));

    // After a failed request, the card does not report a broken picture, because there was no picture.
    await page.getByTestId("live-picture-annex").getByText("No picture yet").waitFor();
    const failedRequest = page.waitForEvent("requestfailed", (request) =>
      request.url().endsWith("/cameras/annex/latest.jpg"),
    );
    await skylapse.end("SIGKILL");
    await shown("offline-banner");
    await failedRequest;
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    expect(await text("live-picture-annex")).toBe("No picture yet");
    await gateway.endAsync(true);
    expect(faults).toEqual([]);
  });
});

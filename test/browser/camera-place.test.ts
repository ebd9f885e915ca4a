import { connectAsync, type MqttClient } from "mqtt";
import type { BrowserContext, Page, Request } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { launchBrowser, letClose, type OwnBrowser } from "../support/browser.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { expectGoodLooks } from "../support/page-looks.ts";
import { sendPastPictures } from "../support/past-pictures.ts";
import { sendPastReadings } from "../support/past-readings.ts";
import { freePort } from "../support/ports.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const TIMEOUT_MS = 20_000;
const location = { lat: 46, lon: 8, timezone: "Europe/Zurich" };

let browser: OwnBrowser;
let skylapse: Skylapse;
let dataPath: string;
let env: Record<string, string>;
let camera: MqttClient;
let context: BrowserContext;
let page: Page;
let faults: string[];

beforeAll(async () => {
  browser = await launchBrowser();
  context = await browser.browser.newContext({
    ...{ viewport: { width: 1280, height: 800 }, locale: "en-GB", reducedMotion: "reduce" },
  });
  context.setDefaultTimeout(TIMEOUT_MS);
  dataPath = makeDataPath();
  env = {
    JWT_SECRET,
    SIMULATOR: "1",
    ARCHIVE: "on",
    CAPTURE_INTERVAL_S: "3600",
    WS_PORT: String(await freePort()),
    MQTT_PORT: String(await freePort()),
  };
  skylapse = await startSkylapse({ dataPath, env });
  await connectCamera();
  await publish("about", { model: "IMX519", firmware: "1", name: "West wall", location, capture_interval_s: 3600 });
  await sendPastReadings(publish);
  await sendPastPictures({
    ...{ broker: skylapse.mqtt, token: signToken("west", ["device:west"]), camera: "west", location },
    ...{ hours: 30, everyMinutes: 60, without: { from: 20, to: 14 } },
  });
}, 120_000);
afterAll(async () => {
  await camera.endAsync(true);
  await browser.end();
  await skylapse.end("SIGKILL");
  removeDataPath(dataPath);
});

async function connectCamera(): Promise<void> {
  const password = signToken("west", ["device:west"], 3600);
  camera = await connectAsync(skylapse.mqtt, { username: "west", password, clientId: "west", reconnectPeriod: 200 });
  await publish("link", { status: "online", session: "s1" });
}

const publish = (topic: string, payload: object) =>
  camera.publishAsync(`skylapse/v1/cameras/west/${topic}`, JSON.stringify(payload), { qos: 1, retain: true });

beforeEach(async () => {
  letClose(page);
  page = await context.newPage();
  faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
});

const open = (path = "") => page.goto(`${skylapse.http}#/cameras/west${path}`);
const until = (condition: () => Promise<boolean>) =>
  expect.poll(condition, { timeout: TIMEOUT_MS, interval: 50 }).toBe(true);
const shownPicture = () => page.getByTestId("live-picture-west").locator("img").getAttribute("src");
const timeText = async () => (await page.getByTestId("picture-time-west").textContent()) ?? "";
const timeline = () => page.getByTestId("timeline-input");
const stripLoaded = () => until(async () => (await page.locator('.timeline-cell[data-loaded="true"]').count()) > 5);

describe("the pictures of a camera", () => {
  it("look good on every screen, and say how far the kept pictures reach", async () => {
    await open();
    await stripLoaded();
    expect(await page.getByTestId("pictures-reach").textContent()).toMatch(
      /^23 pictures since \d+ \w+, \d\d:\d\d \S+, over 29 h 00 min$/,
    );
    await expectGoodLooks(page, "camera");
    expect(faults).toEqual([]);
  });

  it("play from the oldest to the newest, and back to the latest one", async () => {
    await open();
    await stripLoaded();
    const live = await shownPicture();
    await page.getByLabel("Speed").selectOption("25");
    await page.getByTestId("player-play").click();
    await until(async () => (await shownPicture()) !== live);
    await until(async () => (await page.getByTestId("player-play").getAttribute("aria-label")) === "Play");
    const [last, newest] = await Promise.all([timeline().inputValue(), timeline().getAttribute("max")]);
    expect(last).toBe(newest);
    await page.getByTestId("back-to-now").click();
    await page.getByTestId("back-to-now").waitFor({ state: "detached" });
  });

  it("are chosen by the keyboard, with the time for screen readers", async () => {
    await open();
    await stripLoaded();
    await timeline().focus();
    const before = await timeline().getAttribute("aria-valuetext");
    await page.keyboard.press("ArrowLeft");
    await page.getByTestId("back-to-now").waitFor();
    expect(await timeline().getAttribute("aria-valuetext")).not.toBe(before);
    await page.keyboard.press("Home");
    await until(async () => (await timeline().inputValue()) === (await timeline().getAttribute("min")));
    expect(await timeText()).toMatch(/1 day|30 h|29 h/);
    await page.keyboard.press("Escape");
    await page.getByTestId("back-to-now").waitFor({ state: "detached" });
  });

  it("show a time without pictures as a gap", async () => {
    await open();
    await stripLoaded();
    expect(await page.getByTestId("timeline-pause").count()).toBe(1);
    const box = await page.getByTestId("timeline-pause").boundingBox();
    if (box === null) throw new Error("the pause has no place");
    await page.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
    expect(await page.getByTestId("stage-notice").textContent()).toMatch(/^No pictures .+–.+/);
    await page.screenshot({ path: new URL("../../dist/screenshots/camera-gap.png", import.meta.url).pathname });
  });

  it("are zoomed by the keyboard and the buttons, and shifted", async () => {
    await open();
    await stripLoaded();
    const image = page.getByTestId("live-picture-west").locator("img");
    await page.getByTestId("live-picture-west").focus();
    await page.keyboard.press("+");
    await page.getByRole("button", { name: "Zoom in" }).click();
    expect(await page.getByTestId("zoom-scale").textContent()).toBe("225 %");
    await page.getByTestId("live-picture-west").focus();
    await page.keyboard.press("ArrowRight");
    expect(await image.getAttribute("style")).toContain("translate(-10%, 0%) scale(2.25)");
    await page.keyboard.press("0");
    expect(await page.getByTestId("zoom-scale").textContent()).toBe("100 %");
    await page.getByRole("button", { name: "Full screen" }).click();
    await page.getByRole("button", { name: "Leave full screen" }).click();
    await page.getByRole("button", { name: "Full screen" }).waitFor();
  });

  it("name the reason why no film can be made", async () => {
    await open();
    await stripLoaded();
    expect(await page.getByTestId("film-request").isDisabled()).toBe(true);
    expect(await page.locator("#film-request-note").textContent()).toMatch(/No processing service|no permission/);
  });

  it("are not loaded again after a reconnect, and a picture from meanwhile appears", async () => {
    const answered = new Set<string>();
    page.on("requestfinished", (request: Request) => void answered.add(new URL(request.url()).pathname));
    await open();
    await stripLoaded();
    const had = new Set(answered);
    const requests: string[] = [];
    page.on("request", (request: Request) => void requests.push(new URL(request.url()).pathname));
    await skylapse.end("SIGKILL");
    await page.getByTestId("offline-banner").waitFor();
    await camera.endAsync(true);
    skylapse = await startSkylapse({ dataPath, env });
    await page.getByTestId("offline-banner").waitFor({ state: "detached" });
    await connectCamera();
    // Pictures that the page did not have yet may still be loaded.
    expect(requests.filter((path) => path.startsWith("/cameras/") && had.has(path))).toEqual([]);
    await sendPastPictures({
      ...{ broker: skylapse.mqtt, token: signToken("west", ["device:west"]), camera: "west", location },
      ...{ hours: 0.005, everyMinutes: 1 },
    });
    await until(async () => /^24 pictures/.test((await page.getByTestId("pictures-reach").textContent()) ?? ""));
    const pictures = requests.filter((path) => path.startsWith("/cameras/"));
    expect(pictures.filter((path) => path.endsWith("/previews")).length).toBeLessThanOrEqual(1);
    expect(pictures.filter((path) => path.endsWith("latest.jpg"))).toHaveLength(1);
  });
});

describe("the charts of a camera", () => {
  it("show what the camera measured, look good on every screen, and follow the pointer", async () => {
    await open("/charts");
    await until(async () => (await page.getByTestId("chart").count()) >= 6);
    const temperature = page.getByTestId("chart").filter({ hasText: "Temperature" });
    expect(await temperature.locator(".chart-value").textContent()).toMatch(/now .+ °C · −5\.0 °C to 13\.0 °C/);
    expect(await page.getByTestId("chart-gaps").textContent()).toContain("Nothing is kept");
    await expectGoodLooks(page, "camera-charts");
    await page.setViewportSize({ width: 1280, height: 800 });
    await temperature.locator(".u-over").hover();
    await until(async () => /\d\d:\d\d .*: .*°C/.test((await temperature.locator(".chart-value").textContent()) ?? ""));
    expect(faults).toEqual([]);
  });

  it("keep the range in the address", async () => {
    await open("/charts");
    await page.getByLabel("Range").selectOption("year");
    await page.waitForURL(/#\/cameras\/west\/charts\?range=year$/);
    await page.reload();
    expect(await page.getByLabel("Range").inputValue()).toBe("year");
  });
});

describe("the history of a camera", () => {
  it("is searched by words, with the search in the address", async () => {
    await open("/history");
    await until(async () => (await page.getByTestId("event-row").count()) === 50);
    await expectGoodLooks(page, "camera-history");
    await page.getByRole("button", { name: "Show more" }).click();
    await until(async () => (await page.getByTestId("event-row").count()) > 50);
    await page.getByLabel("Words in the events").fill("frozen");
    await page.keyboard.press("Enter");
    await page.waitForURL(/history\?text=frozen$/);
    await until(async () => (await page.getByTestId("event-row").count()) === 1);
    expect(await page.getByTestId("event-row").textContent()).toContain("the shutter is frozen");
    await page.goBack();
    expect(faults).toEqual([]);
  });
});

import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { launchBrowser } from "../support/browser.ts";
import { JWT_SECRET } from "../support/dashboard.ts";
import { freePort, makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

/** `npm run screenshots` keeps the pictures for the README; otherwise they go where nothing is committed. */
const SCREENSHOTS = fileURLToPath(
  new URL(process.env.KEEP_SCREENSHOTS ? "screenshots/" : "../../dist/screenshots/", import.meta.url),
);
const BROWSER_TIMEOUT_MS = 40_000;

let browser: Browser;
let skylapse: Skylapse;
let page: Page;
let dataPath: string;
let env: Record<string, string>;
let faults: string[];

beforeAll(async () => {
  mkdirSync(SCREENSHOTS, { recursive: true });
  browser = await launchBrowser();
});

afterAll(() => browser.close());

beforeEach(async () => {
  dataPath = makeDataPath();
  // The page comes back to the same address after a restart, so the port must be the same too.
  env = {
    JWT_SECRET,
    SIMULATOR: "2",
    CAPTURE_INTERVAL_S: "4",
    WS_PORT: String(await freePort()),
    ...whereItIsAfternoon(),
  };
  skylapse = await startSkylapse({ dataPath, env });
  page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  page.setDefaultTimeout(BROWSER_TIMEOUT_MS);
  faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
});

afterEach(async () => {
  await page.close();
  await skylapse.end("SIGKILL");
  removeDataPath(dataPath);
});

/** A place where the sun is low now, whenever the test runs: nobody wants to look at a mountain by night. */
function whereItIsAfternoon(): Record<string, string> {
  const now = new Date();
  const hoursEast = 15 - (now.getUTCHours() + now.getUTCMinutes() / 60);
  const lon = ((((hoursEast * 15 + 180) % 360) + 360) % 360) - 180;
  const zone = Math.round(lon / 15);
  // The sign of these zones is that of POSIX: Etc/GMT-2 is two hours east of Greenwich.
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

/** A picture fades in; half of a fade is no portrait. */
const transitionsOver = () =>
  page.evaluate(async () => {
    const running = document
      .getAnimations()
      .filter((animation) => animation.effect?.getComputedTiming().iterations !== Number.POSITIVE_INFINITY);
    await Promise.allSettled(running.map((animation) => animation.finished));
  });

const pictureShown = () => until(async () => (await pictureSource("north")) !== null);
const connected = () => until(async () => /live|connected/i.test(await text("connection-state")));

describe("the dashboard page", { timeout: 90_000 }, () => {
  it("shows a new picture and a new event without a reload", async () => {
    await page.goto(skylapse.http);
    await connected();
    await pictureShown();
    const [source, firstRow] = [
      await pictureSource("north"),
      await page.getByTestId("event-row").first().textContent(),
    ];
    await until(async () => (await pictureSource("north")) !== source);
    await until(async () => (await page.getByTestId("event-row").first().textContent()) !== firstRow);
    expect(await text("camera-status-north")).toMatch(/online/i);
    expect(faults).toEqual([]);
  });

  it("takes a picture now, and says truthfully what came of it", async () => {
    await page.goto(skylapse.http);
    await connected();
    await until(async () => /online/i.test(await text("camera-status-north")));
    await page.getByTestId("capture-now-north").click();
    await until(async () => /taken|succeeded|done/i.test(await text("command-status-north")));
  });

  it("says that it is offline while the backend is gone, and goes on by itself when it is back", async () => {
    await page.goto(skylapse.http);
    await connected();
    await pictureShown();
    await skylapse.end("SIGKILL");
    await shown("offline-banner");
    // What is shown is the last that was known, and is not called live.
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

  it("fits a desk and a hand, and sits for the README", async () => {
    await page.goto(skylapse.http);
    await connected();
    await pictureShown();
    await until(async () => (await page.getByTestId("job-row").count()) > 0);
    await until(async () => (await page.getByTestId("event-row").count()) > 3);
    for (const [width, height] of [
      [1280, 800],
      [390, 844],
    ] as const) {
      await page.setViewportSize({ width, height });
      const overflow = await page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      );
      expect(overflow).toBe(0);
      await transitionsOver();
      await page.screenshot({ path: `${SCREENSHOTS}dashboard-${width}.png` });
    }
  });
});

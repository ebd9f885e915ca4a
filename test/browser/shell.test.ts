import { connectAsync } from "mqtt";
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { launchBrowser, letClose, type OwnBrowser } from "../support/browser.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { expectGoodLooks } from "../support/page-looks.ts";
import { removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

let browser: OwnBrowser;
let skylapse: Skylapse;
let page: Page;
let faults: string[];

beforeAll(async () => {
  browser = await launchBrowser();
  skylapse = await startSkylapse({ env: { JWT_SECRET, SIMULATOR: "1", CAPTURE_INTERVAL_S: "60" } });
});
afterAll(async () => {
  await browser.end();
  await skylapse.end("SIGKILL");
  removeDataPath(skylapse.dataPath);
});
beforeEach(async () => {
  page = await browser.browser.newPage({ locale: "en-GB", reducedMotion: "reduce" });
  faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
  await page.goto(skylapse.http);
  await page.locator('.app[data-live="true"]').waitFor();
});
afterEach(() => {
  expect(faults).toEqual([]);
  letClose(page);
});

it("goes to every place by the navigation, names the place in the title, and goes back", async () => {
  const names = await page.getByRole("navigation").getByRole("link").allTextContents();
  expect(names).toEqual(["Fleet", "Alerts", "Jobs", "Events", "System"]);
  for (const name of names.slice(1)) {
    await page.getByRole("link", { name }).click();
    await page.getByRole("heading", { level: 1, name }).waitFor();
    await expect.poll(() => page.title()).toBe(`${name} · Skylapse`);
    expect(await page.locator('nav [aria-current="page"]').textContent()).toBe(name);
  }
  await page.goBack();
  await page.getByRole("heading", { level: 1, name: "Events" }).waitFor();
  await page.reload();
  await page.getByRole("heading", { level: 1, name: "Events" }).waitFor();
  await page.goto(`${skylapse.http}/#/nowhere`);
  await page.getByRole("heading", { name: "There is no such page" }).waitFor();
});

it("works by keyboard: a skip link, and shortcuts that leave text fields alone", async () => {
  await page.keyboard.press("Tab");
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Skip to the content");
  await page.keyboard.press("Enter");
  expect(await page.evaluate(() => document.activeElement?.id)).toBe("content");
  await page.keyboard.press("g");
  await page.keyboard.press("a");
  await page.getByRole("heading", { level: 1, name: "Alerts" }).waitFor();
  await page.keyboard.press("?");
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
});

it("changes language, colours and clock, and keeps them over a reload", async () => {
  await page.getByTestId("preferences").click();
  await page.getByLabel("Language", { exact: true }).selectOption("de");
  // The dialog hides the rest of the page from screen readers.
  await page.getByRole("link", { name: "Alarme", includeHidden: true }).waitFor();
  expect(await page.locator("html").getAttribute("lang")).toBe("de");
  await page.getByLabel("Farben", { exact: true }).selectOption("light");
  await page.getByLabel("Uhr", { exact: true }).selectOption("utc");
  await page.locator('html[data-theme="light"]').waitFor();
  await page.reload();
  await page.getByRole("link", { name: "Alarme" }).waitFor();
  expect(await page.locator("html").getAttribute("data-theme")).toBe("light");
  expect(await page.getByTestId("camera-status-north").textContent()).toContain("UTC");
});

it("shows ages by the server's clock on a machine whose clock is wrong", async () => {
  const wrong = await browser.browser.newPage({ locale: "en-GB" });
  await wrong.clock.install({ time: Date.now() - 5 * 3_600_000 });
  await wrong.goto(`${skylapse.http}/#/alerts`);
  const gateway = await connectAsync(skylapse.mqtt, { username: "gw", password: signToken("gw", ["admin"]) });
  await gateway.publishAsync("skylapse/v1/cameras/annex/state/storage", '{"total_bytes":100,"free_bytes":4}', {
    ...{ qos: 1, retain: true },
  });
  await gateway.endAsync();
  await wrong.getByTestId("alert-row").first().waitFor();
  expect(await wrong.getByTestId("alert-row").first().textContent()).toMatch(/just now|\d+ s ago|[12] min ago/);
  letClose(wrong);
});

it("fits all screens, light and dark, without serious findings of axe", async () => {
  await page.getByTestId("camera-card-north").waitFor();
  await expectGoodLooks(page, "shell");
});

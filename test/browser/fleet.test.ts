import { connectAsync, type MqttClient } from "mqtt";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { launchBrowser, type OwnBrowser } from "../support/browser.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { announceCamera, fleetCameraId as idOf, publishState, sendEvents } from "../support/fleet-stream.ts";
import { describeFrames, measureFrames, scrollFor } from "../support/page-frames.ts";
import { expectGoodLooks, seriousFindings } from "../support/page-looks.ts";
import { removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
const PASSWORD = "a long enough password";
const TIMEOUT_MS = 40_000;

let browser: OwnBrowser;
let skylapse: Skylapse;
let context: BrowserContext;
let page: Page;
let gateway: MqttClient;
const faults: string[] = [];

beforeAll(async () => {
  [browser, skylapse] = await Promise.all([
    launchBrowser(),
    startSkylapse({
      env: {
        ...{ JWT_SECRET, OPERATOR_KEY, SIMULATOR: "0", MAX_REQUESTS_PER_MINUTE: "0" },
        ...{ MAX_MQTT_MESSAGES_PER_SECOND: "0", MAX_MQTT_BYTES_PER_SECOND: "0", PRESENCE_GRACE_MS: "3600000" },
      },
    }),
  ]);
  await operator("POST", "/users", { user_id: "ada", password: PASSWORD, role: "admin" });
  gateway = await connectAsync(skylapse.mqtt, { username: "gateway", password: signToken("gateway", ["admin"]) });
  context = await browser.browser.newContext({ locale: "en-GB", reducedMotion: "reduce" });
  context.setDefaultTimeout(TIMEOUT_MS);
  page = await context.newPage();
  page.on("pageerror", (error) => faults.push(error.message));
  await page.goto(skylapse.http);
  await page.getByLabel("User").fill("ada");
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
});

afterAll(async () => {
  await gateway?.endAsync(true);
  await browser.end();
  await skylapse.end("SIGKILL");
  removeDataPath(skylapse.dataPath);
});

async function operator(method: string, path: string, body: object): Promise<void> {
  const headers = { authorization: `Bearer ${OPERATOR_KEY}`, "content-type": "application/json" };
  const answer = await fetch(`${skylapse.http}${path}`, { method, headers, body: JSON.stringify(body) });
  expect(answer.ok).toBe(true);
}

async function presenceOf(camera: string): Promise<string | undefined> {
  const answer = await fetch(`${skylapse.http}/cameras/${camera}`, {
    headers: { authorization: `Bearer ${OPERATOR_KEY}` },
  });
  return ((await answer.json()) as { presence?: { status: string } }).presence?.status;
}

const say = (camera: string, topic: string, data: unknown) => publishState(gateway, camera, topic, data);

/** A camera for each state, and then cameras that are online. */
const STATES = ["offline", "stale", "sleeping", "overslept", "unknown", "never_seen", "gap", "online"];

/** Publishes the cameras from one number to another, as their states say. */
async function addCameras(from: number, to: number): Promise<void> {
  const since = new Date(Date.now() - 3_600_000).toISOString();
  const added = Array.from({ length: to - from }, (_, index) => from + index);
  const states: Promise<unknown>[] = [];
  for (const index of added.filter((one) => STATES[one] !== "never_seen")) {
    const id = idOf(index);
    states.push(announceCamera(gateway, index));
    if (STATES[index] === "gap")
      states.push(say(id, "state/gaps", { gaps: [{ reason: "missing", count: 12, from: since, to: since }] }));
  }
  await Promise.all(states);
  // The server says `online` of each camera that sends. What is published afterwards stays.
  for (const index of added.filter((one) => STATES[one] !== "never_seen"))
    await expect.poll(() => presenceOf(idOf(index)), { timeout: TIMEOUT_MS }).toBe("online");
  const wanted = added.filter((index) => STATES[index] !== undefined);
  await Promise.all(
    wanted.map((index) => {
      const status = STATES[index] === "gap" ? "online" : STATES[index];
      const until = status === "sleeping" ? { until: since } : {};
      return say(idOf(index), "state/presence", { status, since, ...until });
    }),
  );
}

const cards = () => page.locator("[data-testid^=camera-card-]");
const names = () => page.locator(".fleet-name").allTextContents();
const open = async (search = "") => {
  await page.goto(`${skylapse.http}/#/${search}`);
  await page.locator('.app[data-live="true"]').waitFor();
};

describe("the fleet", { timeout: 240_000 }, () => {
  it("guides when there is no camera", async () => {
    await page.getByRole("heading", { name: "No camera yet" }).waitFor();
    await expectGoodLooks(page, "fleet-0");
  });

  it("shows two cameras", async () => {
    await addCameras(6, 8);
    await expect.poll(() => cards().count()).toBe(2);
    await expectGoodLooks(page, "fleet-2");
  });

  it("shows fifty cameras, worst first, each state with an icon, a text and an outline of its own", async () => {
    await addCameras(0, 6);
    await addCameras(8, 50);
    await operator("PUT", `/cameras/${idOf(9)}`, { name: "Alpha", tags: ["winter", "4k"] });
    await operator("POST", "/camera-groups", { id: "alps", name: "The Alps", cameras: [idOf(9), idOf(0), idOf(30)] });
    await page.getByRole("button", { name: "All 50" }).waitFor();
    await page.setViewportSize({ width: 1280, height: 800 });
    await expect.poll(names).toContain("Alpha");
    expect((await names()).slice(0, 8)).toEqual([
      "Ridge 0",
      "Ridge 3",
      "Ridge 1",
      "Ridge 4",
      "Ridge 6",
      "cam-005",
      "Ridge 2",
      "Alpha",
    ]);
    const shown = await cards().evaluateAll((all) =>
      all.slice(0, 8).map((card) => {
        const { borderStyle, borderWidth, borderColor } = getComputedStyle(card);
        const pill = card.querySelector(".status");
        return {
          outline: `${borderStyle} ${borderWidth} ${borderColor}`,
          icon: pill?.querySelector("path")?.getAttribute("d") ?? "",
          text: [...card.querySelectorAll(".status")].map(({ textContent }) => textContent).join(),
        };
      }),
    );
    for (const part of ["outline", "text"] as const)
      expect(new Set(shown.map((card) => card[part])).size).toBe(shown.length);
    await expectGoodLooks(page, "fleet-50");
    await open("?view=list");
    await expectGoodLooks(page, "fleet-50-list");
  });

  it("searches, filters and sorts by what the address says, and keeps the address up to date", async () => {
    await page.setViewportSize({ width: 1280, height: 800 });
    await open("?state=offline");
    await expect.poll(names).toEqual(["Ridge 0", "Ridge 3"]);
    await open("?group=alps&sort=name");
    await expect.poll(names).toEqual(["Alpha", "Ridge 0", "Ridge 30"]);
    await page.getByRole("searchbox").fill("winter");
    await expect.poll(names).toEqual(["Alpha"]);
    expect(await page.locator(".fleet-found").textContent()).toBe("1 of 50 cameras");
    expect(page.url()).toMatch(/#\/\?q=winter&group=alps&sort=name$/);
    await page.reload();
    await expect.poll(names).toEqual(["Alpha"]);
    await page.getByRole("searchbox").fill("nowhere");
    await page.getByRole("button", { name: "Show all cameras" }).click();
    expect(page.url()).toMatch(/#\/\?sort=name$/);
    await page.getByLabel("Order").selectOption("Lowest battery first");
    const batteries = () =>
      page
        .locator('.fleet-fact[title="Battery"]')
        .evaluateAll((all) => all.map((one) => Number.parseInt(one.textContent ?? "", 10)));
    await expect.poll(async () => (await batteries()).slice(0, 3)).toEqual([20, 21, 23]);
    await page.getByRole("button", { name: /^Sleeping/ }).click();
    await expect.poll(names).toEqual(["Ridge 2"]);
    // "Back" leaves the fleet: the steps of a filter are not steps of the history.
    await page.getByRole("link", { name: "Open Ridge 2" }).click();
    await page.waitForURL(/#\/cameras\/cam-002/);
    await page.goBack();
    await expect.poll(names).toEqual(["Ridge 2"]);
  });

  it("lets an admin make, change and remove a group, and filters by it at once", async () => {
    await open();
    await page.getByRole("button", { name: "Edit groups" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText("The Alps").waitFor();
    await dialog.getByRole("button", { name: "New group" }).click();
    await dialog.getByLabel("Name").fill("Süd-Hang");
    await dialog.getByText("Its id will be sud-hang.").waitFor();
    await dialog.getByLabel("Search cameras").fill("ridge 2");
    await dialog.getByLabel(/^Ridge 20/).check();
    expect(await seriousFindings(page)).toEqual([]);
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.getByRole("button", { name: "Edit Süd-Hang" }).waitFor();
    await page.keyboard.press("Escape");
    await page.setViewportSize({ width: 1280, height: 800 });
    await page.getByLabel("Group", { exact: true }).selectOption("Süd-Hang");
    await expect.poll(names).toEqual(["Ridge 20"]);
    await page.getByRole("button", { name: "Edit groups" }).click();
    await dialog.getByRole("button", { name: "Edit Süd-Hang" }).click();
    await dialog.getByLabel(/^Ridge 21/).check();
    // Another admin was faster.
    await operator("PUT", "/camera-groups/sud-hang", { cameras: [idOf(20), idOf(22)] });
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.getByRole("alert").filter({ hasText: "changed" }).waitFor();
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await dialog.getByRole("button", { name: "Edit Süd-Hang" }).click();
    await dialog.getByLabel(/^Ridge 22/).uncheck();
    await dialog.getByLabel(/^Ridge 21/).check();
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.getByRole("button", { name: "Remove Süd-Hang" }).click();
    await expect.poll(names).toEqual(["Ridge 20", "Ridge 21"]);
    await dialog.getByRole("button", { name: "Remove", exact: true }).click();
    await dialog.getByRole("button", { name: "New group" }).waitFor();
    await expect.poll(() => dialog.getByRole("button", { name: "Edit Süd-Hang" }).count()).toBe(0);
    expect(await seriousFindings(page)).toEqual([]);
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    await page.getByText("No camera matches these filters.").waitFor();
  });

  it("renders 50 cards at 2,000 events in a second, and none of them for what it does not show", async () => {
    await open("?sort=name");
    await page.setViewportSize({ width: 2560, height: 1440 });
    await expect.poll(() => cards().count()).toBeGreaterThan(40);
    const changes = await countChanges();
    let sent = 0;
    const frames = await measureFrames(page, 4_000, async () => {
      sent = await sendEvents(gateway, { perSecond: 2_000, seconds: 4, cameras: 50 });
    });
    console.info(`fleet: ${sent} events in 4 s to 50 cards: ${describeFrames(frames)}`);
    // Only the ages of states and pictures change.
    expect(await changes()).toBeLessThan(sent / 10);
  });

  it("scrolls through 500 cameras, of which only those near the window are rendered", async () => {
    await addCameras(50, 500);
    await page.setViewportSize({ width: 1280, height: 800 });
    await open();
    await expect.poll(() => page.locator(".fleet-filter").first().textContent(), { timeout: 60_000 }).toBe("All500");
    expect(await cards().count()).toBeLessThan(60);
    expect(await cards().first().getAttribute("aria-setsize")).toBe("500");
    const frames = await measureFrames(page, 4_000, () => scrollFor(page, 4_000));
    console.info(`fleet: scrolled 500 cards: ${describeFrames(frames)}`);
    await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
    await expect.poll(names).toContain("Ridge 499");
    await page.evaluate(() => scrollTo(0, 0));
    await expectGoodLooks(page, "fleet-500");
    expect(faults).toEqual([]);
  });
});

/** Counts the changes of the cards in the document from now on. @returns reads the count */
async function countChanges(): Promise<() => Promise<number>> {
  const counter = await page.evaluateHandle(() => {
    const count = { changes: 0 };
    const list = document.querySelector(".fleet-list");
    const observer = new MutationObserver((records) => {
      count.changes += records.length;
    });
    if (list !== null)
      observer.observe(list, { subtree: true, childList: true, characterData: true, attributes: true });
    return count;
  });
  return () => counter.evaluate(({ changes }) => changes);
}

import { connectAsync, type MqttClient } from "mqtt";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { launchBrowser, type OwnBrowser } from "../support/browser.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
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

const say = (camera: string, topic: string, data: unknown) =>
  gateway.publishAsync(`skylapse/v1/cameras/${camera}/${topic}`, JSON.stringify(data), { qos: 1, retain: true });

/** A camera for each state, and then cameras that are online. */
const STATES = ["offline", "stale", "sleeping", "overslept", "unknown", "never_seen", "gap", "online"];
const idOf = (index: number) => `cam-${String(index).padStart(3, "0")}`;

/** Publishes the cameras from one number to another, as their states say. */
async function addCameras(from: number, to: number): Promise<void> {
  const since = new Date(Date.now() - 3_600_000).toISOString();
  const added = Array.from({ length: to - from }, (_, index) => from + index);
  const states: Promise<unknown>[] = [];
  for (const index of added.filter((one) => STATES[one] !== "never_seen")) {
    const id = idOf(index);
    const about = { model: "m", firmware: "f", name: `Ridge ${index}`, capture_interval_s: 60 };
    states.push(say(id, "about", { ...about, location: { lat: 46, lon: 8, timezone: "Europe/Zurich" } }));
    states.push(say(id, "state/storage", { total_bytes: 1000, free_bytes: 1000 - ((index * 7) % 80) * 10 }));
    states.push(say(id, "state/power", { source: "battery", battery_percent: 20 + ((index * 13) % 80) }));
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
    const frames = await measured(4_000, async () => {
      sent = await sendEvents({ perSecond: 2_000, seconds: 4, cameras: 50 });
    });
    console.info(`fleet: ${sent} events in 4 s to 50 cards: ${described(frames)}`);
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
    const frames = await measured(4_000, () => scrollFor(4_000));
    console.info(`fleet: scrolled 500 cards: ${described(frames)}`);
    await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
    await expect.poll(names).toContain("Ridge 499");
    await page.evaluate(() => scrollTo(0, 0));
    await expectGoodLooks(page, "fleet-500");
    expect(faults).toEqual([]);
  });
});

interface Frames {
  count: number;
  perSecond: number;
  /** Milliseconds between two frames. */
  p50: number;
  p95: number;
  /**
   * The processor's time of the page's main thread, milliseconds. Unlike the time between frames, it does not depend on
   * other programs of the machine.
   */
  busyMs: number;
}

/** The frames of the page while `work` runs, for at least some milliseconds. */
async function measured(ms: number, work: () => Promise<unknown>): Promise<Frames> {
  const debug = await context.newCDPSession(page);
  await debug.send("Performance.enable", { timeDomain: "threadTicks" });
  const busyMs = async (): Promise<number> => {
    const { metrics } = await debug.send("Performance.getMetrics");
    return (metrics.find(({ name }) => name === "TaskDuration")?.value ?? 0) * 1000;
  };
  const before = await busyMs();
  const [frames] = await Promise.all([framesDuring(ms), work()]);
  const after = await busyMs();
  await debug.detach();
  return { ...frames, busyMs: after - before };
}

function framesDuring(ms: number): Promise<Omit<Frames, "busyMs">> {
  return page.evaluate(
    (duration) =>
      new Promise<Omit<Frames, "busyMs">>((resolve) => {
        const times: number[] = [];
        const begin = performance.now();
        let last = begin;
        const frame = (now: number): void => {
          times.push(now - last);
          last = now;
          if (now - begin < duration) return void requestAnimationFrame(frame);
          const sorted = times.slice(1).sort((one, other) => one - other);
          const at = (part: number): number => sorted[Math.floor(part * (sorted.length - 1))] ?? 0;
          const { length: count } = times;
          resolve({ count, perSecond: (count * 1000) / (now - begin), p50: at(0.5), p95: at(0.95) });
        };
        requestAnimationFrame(frame);
      }),
    ms,
  );
}

/** Scrolls down by 40 pixels in each frame, and back up from the end. */
function scrollFor(ms: number): Promise<void> {
  return page.evaluate(
    (duration) =>
      new Promise<void>((resolve) => {
        const begin = performance.now();
        let step = 40;
        const frame = (now: number): void => {
          const before = scrollY;
          scrollBy(0, step);
          if (scrollY === before) step = -step;
          if (now - begin < duration) requestAnimationFrame(frame);
          else resolve();
        };
        requestAnimationFrame(frame);
      }),
    ms,
  );
}

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

function described({ count, perSecond, p50, p95, busyMs }: Frames): string {
  const frames = `${perSecond.toFixed(1)} frames/s, p50 ${p50.toFixed(1)} ms, p95 ${p95.toFixed(1)} ms`;
  return `${frames}; main thread busy ${busyMs.toFixed(0)} ms, ${(busyMs / count).toFixed(1)} ms for each frame`;
}

/** Publishes events and states of all cameras in turn. @returns how many were sent */
async function sendEvents(rate: { perSecond: number; seconds: number; cameras: number }): Promise<number> {
  const begin = performance.now();
  let sent = 0;
  // Many publications wait for the socket at the same time.
  gateway.stream.setMaxListeners(0);
  while (sent < rate.perSecond * rate.seconds) {
    const due = Math.min(rate.perSecond * rate.seconds, ((performance.now() - begin) / 1000) * rate.perSecond);
    const last: Promise<unknown>[] = [];
    for (; sent < due; sent++) {
      const id = idOf(sent % rate.cameras);
      last.push(
        sent % 4 === 0
          ? say(id, "state/environment", { sun_elevation: sent % 90, sun_azimuth: 10 })
          : gateway.publishAsync(`skylapse/v1/cameras/${id}/events/tick`, JSON.stringify({ n: sent }), { qos: 0 }),
      );
    }
    await Promise.all(last);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return sent;
}

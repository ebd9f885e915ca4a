import { once } from "node:events";
import { connect, createServer } from "node:net";
import { connectAsync } from "mqtt";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, onTestFinished } from "vitest";
import { launchBrowser, letClose, type OwnBrowser } from "../support/browser.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { textsBesideNodes } from "../support/page-looks.ts";
import { freePort } from "../support/ports.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const dataPath = makeDataPath();
let browser: OwnBrowser;
/** All tests except the test of 600 cameras share this server with its cameras and alerts, so their order matters. */
let skylapse: Skylapse;
let context: BrowserContext;
let page: Page;
let faults: string[];
let env: Record<string, string>;

beforeAll(async () => {
  env = {
    JWT_SECRET,
    // The page reconnects to the same address after a restart.
    WS_PORT: String(await freePort()),
    SIMULATOR: "1",
    CAPTURE_INTERVAL_S: "1",
    PRESENCE_GRACE_MS: "1000",
  };
  [browser, skylapse] = await Promise.all([launchBrowser(), startSkylapse({ dataPath, env })]);
  // Without animations, because software rendering of animations costs much CPU time.
  context = await browser.browser.newContext({
    ...{ viewport: { width: 1280, height: 800 }, locale: "en-GB", reducedMotion: "reduce" },
  });
  context.setDefaultTimeout(60_000);
});

afterAll(async () => {
  await browser.end();
  await skylapse.end("SIGKILL");
  removeDataPath(dataPath);
});

beforeEach(async () => {
  page = await context.newPage();
  faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
});

afterEach(() => letClose(page));

async function openPage(): Promise<void> {
  await page.goto(skylapse.http);
  await page.locator('[data-testid="connection-state"][data-live="true"]').waitFor();
  await page.locator(".fleet-card").first().waitFor();
}

/** Publishes retained messages below `cameras/`, like several cameras. */
async function say(messages: readonly (readonly [topic: string, data: unknown])[]): Promise<void> {
  const gateway = await connectAsync(skylapse.mqtt, { username: "gateway", password: signToken("gateway", ["admin"]) });
  for (const [topic, data] of messages)
    await gateway.publishAsync(`skylapse/v1/cameras/${topic}`, JSON.stringify(data), { qos: 1, retain: true });
  await gateway.endAsync();
}

/** Replaces each text node by a `<font>` element with the text, like the translator of a browser. */
const translate = () =>
  page.evaluate(() => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const texts: Text[] = [];
    while (walker.nextNode()) if (walker.currentNode instanceof Text) texts.push(walker.currentNode);
    for (const text of texts) {
      if (text.data.trim() === "" || text.parentElement?.tagName === "SCRIPT") continue;
      const outer = document.createElement("font");
      const inner = document.createElement("font");
      inner.textContent = `[${text.data}]`;
      outer.append(inner);
      text.replaceWith(outer);
    }
  });

it("stays usable after a translator has replaced all texts and the connection is lost", async () => {
  await openPage();
  await page.getByTestId("camera-card-north").waitFor();
  await translate();
  await skylapse.end("SIGKILL");
  await page.getByTestId("offline-banner").waitFor();
  await translate();
  skylapse = await startSkylapse({ dataPath, env });
  await page.locator('[data-testid="connection-state"][data-live="true"]').waitFor();
  await page.getByTestId("offline-banner").waitFor({ state: "detached" });
  await expect.poll(() => page.getByTestId("connection-state").textContent()).toMatch(/^Live/);
  expect(await page.getByTestId("camera-card-north").count()).toBe(1);
  expect(await page.getByTestId("failed-part").count()).toBe(0);
  expect(faults).toEqual([]);
});

it("keeps the rest of the page if one part fails to render, and renders that part again", async () => {
  await openPage();
  await page.getByRole("link", { name: "Events" }).click();
  await page.getByTestId("event-row").first().waitFor();
  const failed: Promise<unknown> = page.getByTestId("failed-part").first().waitFor();
  // The test removes rows, like an extension of the browser, so that React fails at the next event.
  await page.evaluate(() => {
    for (const row of document.querySelectorAll('[data-testid="event-feed"] > li')) row.remove();
  });
  await failed;
  expect(await page.getByTestId("failed-part").textContent()).toMatch(/^Events could not be shown/);
  expect(await page.getByRole("link", { name: "Fleet" }).count()).toBe(1);
  await page.getByTestId("event-row").first().waitFor();
  expect(await page.getByTestId("failed-part").count()).toBe(0);
});

it("names the setting to change if the server refuses its address", async () => {
  // The proxy sends another Host header, so the server assumes a page of another origin.
  const target = new URL(skylapse.http);
  const proxy = createServer((socket) => {
    const server = connect(Number(target.port), target.hostname);
    socket.on("data", (bytes) =>
      server.write(bytes.toString("latin1").replace(/^Host: .*$/m, "Host: inner"), "latin1"),
    );
    server.pipe(socket);
    for (const [one, other] of [
      [socket, server],
      [server, socket],
    ] as const) {
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
  }).listen(0, "127.0.0.1");
  onTestFinished(() => void proxy.close());
  await once(proxy, "listening");
  const address = proxy.address();
  const port = typeof address === "object" ? address?.port : undefined;
  // The page gets a login and a token. Otherwise, the page would show the sign-in form instead of connecting.
  const login = { userId: "vera", refreshToken: "x" };
  await page.addInitScript((kept) => localStorage.setItem("skylapse:login", kept), JSON.stringify(login));
  await page.route("**/auth/refresh", (route) =>
    route.fulfill({ json: { token: "a.b.c", user_id: "vera", refresh_token: "y", expires_in: 600 } }),
  );
  await page.goto(`http://127.0.0.1:${port}/`);
  const banner = page.getByTestId("offline-banner");
  await banner.getByText("The server refuses pages from this address").waitFor();
  expect(await banner.textContent()).toContain(`ALLOWED_ORIGINS=http://127.0.0.1:${port}`);
});

it("shows the alert of each of sixteen cameras on its card", async () => {
  await say(Array.from({ length: 16 }, (_, index) => [`c${index}/state/storage`, { total_bytes: 100, free_bytes: 3 }]));
  await openPage();
  for (const camera of ["c0", "c7", "c8"])
    await page.getByTestId(`camera-card-${camera}`).locator(".fleet-alert").waitFor();
  const { top, bottom } = await page
    .locator(".fleet-card")
    .first()
    .evaluate((element) => element.getBoundingClientRect());
  expect(top).toBeGreaterThanOrEqual(0);
  expect(bottom).toBeLessThanOrEqual(800);
});

it("shows an offline camera first, and counts offline cameras in the title and in red on the page", async () => {
  // High enough for all cards: only those near the window are rendered.
  await page.setViewportSize({ width: 1280, height: 6000 });
  await openPage();
  const camera = await connectAsync(skylapse.mqtt, {
    ...{ clientId: "zulu", username: "zulu", password: signToken("zulu", ["device:zulu"]) },
    will: {
      topic: "skylapse/v1/cameras/zulu/link",
      payload: Buffer.from(JSON.stringify({ status: "offline", session: "s1" })),
      ...{ qos: 1, retain: true },
    },
  });
  const about = { model: "m", firmware: "f", name: "Zulu", capture_interval_s: 3600 };
  const location = { lat: 46, lon: 8, timezone: "Europe/Zurich" };
  await say([["zulu/about", { ...about, location }]]);
  const birth = JSON.stringify({ status: "online", session: "s1" });
  await camera.publishAsync("skylapse/v1/cameras/zulu/link", birth, { qos: 1, retain: true });
  await page.locator('[data-testid="camera-status-zulu"][data-status="online"]').waitFor();
  camera.stream.destroy();
  await camera.endAsync(true);
  await page.locator('[data-testid="camera-status-zulu"][data-status="offline"]').waitFor();
  await expect.poll(() => page.title()).toBe("1 offline · Skylapse");
  const count = page.getByTestId("offline-count");
  expect(await count.textContent()).toBe("1 offline");
  const [red = 0, green = 255] = await count.evaluate((element) =>
    (getComputedStyle(element).color.match(/\d+/g) ?? []).map(Number),
  );
  expect(red).toBeGreaterThan(green + 50);
  await page.reload();
  await page.locator('[data-testid="connection-state"][data-live="true"]').waitFor();
  // The offline camera is the first of the list, and the online camera is the last. Cameras that never connected are
  // between them.
  const ends = () =>
    page
      .locator(".fleet-card")
      .evaluateAll((cards) => [cards[0], cards.at(-1)].map((card) => card?.getAttribute("data-testid")));
  await expect.poll(ends).toEqual(["camera-card-zulu", "camera-card-north"]);
});

it("has no text with sibling nodes, whether live or offline", async () => {
  await say([
    // Not an alert of `north`, because the readings of `north` would end the alert.
    ["south/state/storage", { total_bytes: 100, free_bytes: 3 }],
    ["north/state/power", { source: "battery", battery_percent: 40 }],
    [
      "north/state/environment",
      { sun_elevation: 3, sun_azimuth: 200, temperature_c: 3, humidity_percent: 40, wind_ms: 2 },
    ],
  ]);
  await openPage();
  await page.locator(".fleet-alert").first().waitFor();
  expect(await textsBesideNodes(page)).toEqual([]);
  for (const [place, row] of [
    ["Alerts", "alert-row"],
    ["Events", "event-row"],
    ["Jobs", "job-row"],
  ] as const) {
    await page.getByRole("link", { name: place }).click();
    await page.getByTestId(row).first().waitFor();
    expect(await textsBesideNodes(page)).toEqual([]);
  }
  await page.getByRole("link", { name: "Fleet" }).click();
  await skylapse.end("SIGKILL");
  await page.getByTestId("offline-banner").waitFor();
  expect(await textsBesideNodes(page)).toEqual([]);
});

it("shows 600 cameras with nine retained topics each, and the server's count of them", async () => {
  // Without a simulated camera, the page would have to sign in.
  const server = await startSkylapse({ env: { JWT_SECRET, SIMULATOR: "1", CAPTURE_INTERVAL_S: "60" } });
  onTestFinished(async () => {
    await server.end("SIGKILL");
    removeDataPath(server.dataPath);
  });
  const gateway = await connectAsync(server.mqtt, { username: "gateway", password: signToken("gateway", ["admin"]) });
  const publish = (topic: string, data: unknown) =>
    gateway.publishAsync(`skylapse/v1/cameras/${topic}`, JSON.stringify(data), { qos: 1, retain: true });
  for (let camera = 0; camera < 600; camera++) {
    const states = Array.from({ length: 8 }, (_, index) => publish(`c${camera}/state/s${index}`, { index }));
    await Promise.all([publish(`c${camera}/link`, { status: "online", session: "s1" }), ...states]);
  }
  await gateway.endAsync();
  await page.goto(server.http);
  await expect.poll(() => page.locator(".page-summary").textContent()).toBe("601 cameras, all online");
  await expect.poll(() => page.locator(".fleet-card").first().getAttribute("aria-setsize")).toBe("601");
});

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { JWT_SECRET } from "../support/dashboard.ts";
import { seriousFindings } from "../support/page-looks.ts";
import { PageProxy } from "../support/page-proxy.ts";
import { CHROMIUM } from "../support/programs.ts";
import { removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const SCREENSHOTS = fileURLToPath(new URL("../../dist/screenshots/", import.meta.url));
const OPERATOR_KEY = "operator-key-of-the-tests";
const PASSWORD = "a long enough password";
const TIMEOUT_MS = 60_000;

let skylapse: Skylapse;
let proxy: PageProxy;
let context: BrowserContext;
let profile: string;
let page: Page;

beforeAll(async () => {
  profile = mkdtempSync(join(tmpdir(), "skylapse-profile-"));
  skylapse = await startSkylapse({
    env: { JWT_SECRET, OPERATOR_KEY, SIMULATOR: "2", CAPTURE_INTERVAL_S: "5", MAX_CONNECTIONS_PER_USER: "50" },
  });
  proxy = new PageProxy(skylapse.http, "/sky/");
  await proxy.start();
  // Not a context of `newContext`, which would be incognito: a browser installs no page there.
  context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"],
    viewport: { width: 1280, height: 800 },
    reducedMotion: "reduce",
  });
  context.setDefaultTimeout(TIMEOUT_MS);
  await context.addInitScript(() => {
    new MutationObserver((_changes, observer) => {
      if (document.querySelector("[data-testid^=camera-status-]") === null) return;
      observer.disconnect();
      Object.assign(globalThis, { shownAfterMs: performance.now() });
    }).observe(document, { childList: true, subtree: true });
  });
  page = await context.newPage();
  await page.goto(proxy.url);
  await live(page);
});

afterAll(async () => {
  await context.close();
  await proxy.stop();
  await skylapse.end("SIGKILL");
  removeDataPath(skylapse.dataPath);
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
});

const live = (tab: Page) => tab.locator(".app[data-live=true]").waitFor();
const pictures = (tab: Page) => tab.locator(".picture[data-status=shown]").first().waitFor();

/** Waits until the page of the next load comes from the service worker. */
const untilInstalled = (tab: Page) => tab.evaluate(async () => void (await navigator.serviceWorker.ready));

const keptPictures = (tab: Page): Promise<number> =>
  tab.evaluate(async () => {
    const all = await caches.keys();
    return all.includes("skylapse-pictures") ? (await (await caches.open("skylapse-pictures")).keys()).length : 0;
  });

const keptRows = (tab: Page): Promise<number> =>
  tab.evaluate(
    () =>
      new Promise((resolve) => {
        const opening = indexedDB.open("skylapse-cache");
        opening.onsuccess = () => {
          const request = opening.result.transaction("rows").objectStore("rows").count();
          request.onsuccess = () => {
            opening.result.close();
            resolve(request.result);
          };
        };
      }),
  );

/** Opens the page in a second tab, and closes the tab after the test. */
async function openTab(): Promise<Page> {
  const tab = await context.newPage();
  onTestFinished(() => tab.close());
  await tab.goto(proxy.url);
  await live(tab);
  return tab;
}

/** Sends requests from the tab, one after the other, until the tab loads a page. */
const keepRequesting = (tab: Page) =>
  tab.evaluate(() => {
    const next = () => void fetch("readyz").finally(() => setTimeout(next, 10));
    next();
  });

async function broadcast(n: number): Promise<void> {
  const answer = await fetch(`${skylapse.http}/broadcast`, {
    method: "POST",
    headers: { authorization: `Bearer ${OPERATOR_KEY}`, "content-type": "application/json" },
    body: JSON.stringify({ channel: "dashboard", message: { event: "counted", data: { n } } }),
  });
  expect(answer.status).toBe(200);
}

it("can be installed below a path of a proxy", async () => {
  await untilInstalled(page);
  const session = await context.newCDPSession(page);
  const { installabilityErrors } = await session.send("Page.getInstallabilityErrors");
  expect(installabilityErrors).toEqual([]);
  const { url, errors } = await session.send("Page.getAppManifest");
  expect([url, errors]).toEqual([`${proxy.url}manifest.webmanifest`, []]);
});

it("opens without a connection with the last state and pictures, and then receives every missed event", {
  timeout: 180_000,
}, async () => {
  await page.reload();
  await live(page);
  await pictures(page);
  await expect.poll(() => keptPictures(page)).toBe(2);
  await expect.poll(() => keptRows(page)).toBeGreaterThan(2);
  await proxy.stop();
  for (let n = 1; n <= 20; n++) await broadcast(n);

  await page.reload({ waitUntil: "commit" });
  const milliseconds = await page.waitForFunction(() => Reflect.get(globalThis, "shownAfterMs"));
  await pictures(page);
  console.log(
    `without a connection, the first camera was shown after ${Math.round(Number(await milliseconds.jsonValue()))} ms`,
  );
  await expect.poll(() => page.getByTestId("offline-banner").textContent()).toMatch(/data below is from/);
  await page.screenshot({ path: `${SCREENSHOTS}offline-1280.png` });
  await page.setViewportSize({ width: 390, height: 800 });
  await page.screenshot({ path: `${SCREENSHOTS}offline-390.png` });
  await page.setViewportSize({ width: 1280, height: 800 });

  const received: { data?: { n?: number }; event?: string; snapshot?: boolean; type: string }[] = [];
  page.on("websocket", (socket) => {
    socket.on("framereceived", ({ payload }) => received.push(JSON.parse(String(payload))));
  });
  await proxy.start();
  // The page tries again by itself, maybe before a click on "Reconnect now".
  await live(page);
  const counted = () => received.filter(({ event }) => event === "counted").map(({ data }) => data?.n);
  await expect.poll(counted).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
  expect(received.filter(({ snapshot }) => snapshot === true)).toEqual([]);
  expect(await page.getByTestId("offline-banner").count()).toBe(0);
});

it("offers a new build, loads it in all tabs once it is accepted, and never mixes builds", {
  timeout: 180_000,
}, async () => {
  const other = await openTab();
  onTestFinished(() => {
    proxy.override = undefined;
  });
  proxy.override = async (path, original) => {
    const later = "$1later";
    if (path === "/sw.js")
      return { type: "text/javascript", body: (await original()).replace(/(index\.html`,revision:`)[0-9a-f]+/, later) };
    if (path !== "/index.html" && path !== "/") {
      // The files of the old build are deleted on the server.
      const isPlace = path.startsWith("/assets/") && path.includes("-place-");
      return isPlace ? { type: "text/html", body: "deleted" } : undefined;
    }
    const body = (await original()).replace("<html ", '<html data-build="later" ');
    return { type: "text/html", body };
  };
  await proxy.stop();
  await proxy.start();
  await page.getByTestId("update-offer").waitFor();
  expect(await seriousFindings(page)).toEqual([]);
  await page.screenshot({ path: `${SCREENSHOTS}update-1280.png` });
  const builds = async () => [
    await page.locator("html").getAttribute("data-build"),
    await other.locator("html").getAttribute("data-build"),
  ];
  await page.reload();
  await live(page);
  expect(await builds()).toEqual([null, null]);
  // A place whose file only the old build has.
  await page.goto(`${proxy.url}#/system`);
  await page.locator("h1").filter({ hasText: "System" }).waitFor();
  // A request through the old worker, while the browser ends it, would start it again.
  await keepRequesting(other);
  await page.getByTestId("update-offer").getByRole("button").click();
  await expect.poll(builds).toEqual(["later", "later"]);
});

it("deletes the state and the pictures at a sign-out in another tab", async () => {
  const headers = { authorization: `Bearer ${OPERATOR_KEY}`, "content-type": "application/json" };
  const user = JSON.stringify({ user_id: "vera", password: PASSWORD, role: "viewer" });
  expect((await fetch(`${skylapse.http}/users`, { method: "POST", headers, body: user })).ok).toBe(true);
  // With an account, the server wants everybody to sign in.
  await page.goto(`${proxy.url}#/`);
  await page.reload();
  await page.getByLabel("User").fill("vera");
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await live(page);
  await pictures(page);
  const other = await openTab();
  await expect.poll(() => keptRows(other)).toBeGreaterThan(2);
  await expect.poll(() => keptPictures(other)).toBeGreaterThan(0);
  await page.getByRole("button", { name: "Sign out" }).click();
  for (const tab of [page, other]) await tab.getByLabel("Password").waitFor();
  expect([await keptRows(page), await keptPictures(page)]).toEqual([0, 0]);
});

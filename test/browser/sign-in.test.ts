import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { connectAsync } from "mqtt";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { launchBrowser, letClose, type OwnBrowser } from "../support/browser.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const SCREENSHOTS = fileURLToPath(new URL("../../dist/screenshots/", import.meta.url));
const OPERATOR_KEY = "operator-key-of-the-tests";
const PASSWORD = "a long enough password";
const TIMEOUT_MS = 40_000;

let browser: OwnBrowser;
let skylapse: Skylapse;
let context: BrowserContext;

beforeAll(async () => {
  mkdirSync(SCREENSHOTS, { recursive: true });
  [browser, skylapse] = await Promise.all([
    launchBrowser(),
    startSkylapse({ env: { JWT_SECRET, OPERATOR_KEY, SIMULATOR: "1" } }),
  ]);
  await operator("POST", "/users", { user_id: "vera", password: PASSWORD, role: "viewer" });
});

afterAll(async () => {
  await browser.end();
  await skylapse.end("SIGKILL");
  removeDataPath(skylapse.dataPath);
});

beforeEach(async () => {
  // A client behind a proxy must sign in, because the server assumes another machine.
  context = await browser.browser.newContext({
    extraHTTPHeaders: { "x-forwarded-for": "192.0.2.7" },
    reducedMotion: "reduce",
  });
  context.setDefaultTimeout(TIMEOUT_MS);
});

afterEach(() => letClose(context));

async function operator(method: string, path: string, body: object): Promise<void> {
  const headers = { authorization: `Bearer ${OPERATOR_KEY}`, "content-type": "application/json" };
  const answer = await fetch(`${skylapse.http}${path}`, { method, headers, body: JSON.stringify(body) });
  expect(answer.ok).toBe(true);
}

async function open(): Promise<Page> {
  const page = await context.newPage();
  await page.goto(skylapse.http);
  return page;
}

const signInShown = (page: Page) => page.getByTestId("sign-in").waitFor();
const cameraShown = (page: Page) => page.getByTestId("camera-status-north").waitFor();

async function signIn(page: Page, password: string): Promise<void> {
  await page.getByLabel("User").fill("vera");
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
}

it("signs a viewer in by password in all tabs and across a reload, and signs out of all tabs at once", async () => {
  const page = await open();
  await signInShown(page);
  await page.screenshot({ path: `${SCREENSHOTS}sign-in-1280.png` });
  await signIn(page, "another password");
  await expect.poll(() => page.getByRole("alert").textContent()).toBe("Wrong user name or password");
  await signIn(page, PASSWORD);
  await cameraShown(page);
  await page.reload();
  await cameraShown(page);
  await expect.poll(() => page.locator(".app").getAttribute("data-live"), { timeout: TIMEOUT_MS }).toBe("true");
  // A viewer cannot send commands.
  expect(await page.getByTestId("capture-now-north").count()).toBe(0);
  const other = await open();
  await cameraShown(other);
  await page.getByRole("button", { name: "Sign out" }).click();
  for (const tab of [page, other]) await signInShown(tab);
});

it("opens a finished film in a new tab, by a link that the server gives to the signed-in user", async () => {
  const service = await connectAsync(skylapse.mqtt, {
    username: "films",
    password: signToken("films", ["processing:films"]),
  });
  const film = "north.1080p-7f3a.mp4";
  const data = {
    ...{ job: "day-1", type: "timelapse_assembly", status: "completed", progress: 100, camera: "north" },
    films: [{ output: "1080p", url: `/films/${film}`, size_bytes: 9, width: 2, height: 2, frames: 1, duration_s: 1 }],
  };
  const envelope = { v: 1, id: "film-1", timestamp: new Date().toISOString(), event: "job.completed", data };
  const topic = "skylapse/v1/processing/films/jobs/day-1";
  await service.publishAsync(topic, JSON.stringify(envelope), { qos: 1, retain: true });
  await service.endAsync();
  const page = await open();
  await signIn(page, PASSWORD);
  await page.getByRole("link", { name: "Jobs" }).click();
  const [tab] = await Promise.all([context.waitForEvent("page"), page.getByTestId("film-link").click()]);
  await tab.waitForURL(`**/films/${film}?token=*`);
  const token = new URL(tab.url()).searchParams.get("token");
  const access = `${skylapse.http}/cameras/north/films/${film}/access`;
  expect((await fetch(access, { headers: { authorization: `Bearer ${token}` } })).status).toBe(204);
});

it("applies a change of the user's permissions, and asks to sign in after the account is disabled", async () => {
  const page = await open();
  await signIn(page, PASSWORD);
  await cameraShown(page);
  await operator("PUT", "/users/vera", { permissions: ["dashboard:read", "camera:north:control"] });
  await page.getByTestId("capture-now-north").waitFor();
  await operator("PUT", "/users/vera", { enabled: false });
  await signInShown(page);
  await signIn(page, PASSWORD);
  await expect.poll(() => page.getByRole("alert").textContent()).toBe("Wrong user name or password");
});

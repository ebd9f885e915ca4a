import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { launchBrowser, letClose, type OwnBrowser } from "../support/browser.ts";
import { JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import { expectGoodLooks } from "../support/page-looks.ts";
import { removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
const PASSWORD = "a long enough password";
const TIMEOUT_MS = 40_000;

let browser: OwnBrowser;
let skylapse: Skylapse;
let context: BrowserContext;

beforeAll(async () => {
  const env = { JWT_SECRET, OPERATOR_KEY, SIMULATOR: "1", CAPTURE_INTERVAL_S: "2", ARCHIVE: "on" };
  [browser, skylapse] = await Promise.all([launchBrowser(), startSkylapse({ env })]);
  for (const [user_id, role] of [
    ["ada", "admin"],
    ["vera", "viewer"],
  ])
    await fetch(`${skylapse.http}/users`, {
      method: "POST",
      headers: { authorization: `Bearer ${OPERATOR_KEY}` },
      body: JSON.stringify({ user_id, role, password: PASSWORD }),
    });
});
afterAll(async () => {
  await browser.end();
  await skylapse.end("SIGKILL");
  removeDataPath(skylapse.dataPath);
});
beforeEach(async () => {
  context = await browser.browser.newContext({ locale: "en-GB", reducedMotion: "reduce" });
  context.setDefaultTimeout(TIMEOUT_MS);
});
afterEach(() => letClose(context));

async function openAs(user: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${skylapse.http}/#/system`);
  await page.getByLabel("User").fill(user);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 2, name: "Nodes" }).waitFor();
  return page;
}

it("shows an admin the state of the server, and closes a connection", { timeout: 120_000 }, async () => {
  const guest = await openDashboard(skylapse.socket, signToken("guest", ["dashboard:read"]));
  const page = await openAs("ada");
  await expect.poll(() => page.getByTestId("system-state").textContent()).toBe("Ready");
  const body = page.locator(".system");
  for (const text of ["Never", "Up to date", "answers this page"]) await body.getByText(text).first().waitFor();
  await body
    .getByText(/^\d+(\.\d)? per second$/)
    .first()
    .waitFor();
  await body.getByText(/\d ms/).first().waitFor();
  await page.getByRole("button", { name: "Close the connection of guest from 127.0.0.1" }).click();
  await page.getByRole("button", { name: "Close the connection", exact: true }).click();
  await guest.closed;
  await page.getByRole("button", { name: /of guest/ }).waitFor({ state: "detached" });
  await expectGoodLooks(page, "system");
});

it("shows a viewer the same without what only an admin may do, and says why", async () => {
  const page = await openAs("vera");
  await page.getByText("Only an admin sees the connections of all nodes and can close them.").waitFor();
  await expect.poll(() => page.getByRole("button", { name: /Close the connection of vera/ }).isDisabled()).toBe(true);
});

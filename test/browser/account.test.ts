import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { launchBrowser, letClose, type OwnBrowser } from "../support/browser.ts";
import { expectGoodLooks } from "../support/page-looks.ts";
import { removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
const PASSWORD = "a long enough password";
const NEXT_PASSWORD = "another long password";
const WINDOWS =
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0";

let browser: OwnBrowser;
let skylapse: Skylapse;
const contexts: BrowserContext[] = [];

beforeAll(async () => {
  // Without cameras.
  [browser, skylapse] = await Promise.all([
    launchBrowser(),
    startSkylapse({ env: { OPERATOR_KEY, MAX_TOKEN_REQUESTS_PER_MINUTE: "0" } }),
  ]);
  for (const [user_id, role] of [
    ["ada", "admin"],
    ["vera", "viewer"],
  ])
    expect((await post("/users", { user_id, password: PASSWORD, role })).status).toBe(201);
});
afterAll(async () => {
  await browser.end();
  await skylapse.end("SIGKILL");
  removeDataPath(skylapse.dataPath);
});
afterEach(() => {
  for (const context of contexts.splice(0)) letClose(context);
});

function post(path: string, body: object, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(skylapse.http + path, {
    method: "POST",
    headers: { authorization: `Bearer ${OPERATOR_KEY}`, "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
}

/** Logs in as another browser does. */
async function logInElsewhere(userAgent: string): Promise<() => Promise<number>> {
  const login = await post("/auth/login", { user_id: "vera", password: PASSWORD }, { "user-agent": userAgent });
  const { token } = (await login.json()) as { token: string };
  return async () =>
    (await fetch(`${skylapse.http}/auth/me`, { headers: { authorization: `Bearer ${token}` } })).status;
}

/** A tab of a new browser profile, in which the user is signed in. */
async function signedIn(user: string): Promise<Page> {
  const context = await browser.browser.newContext({
    // A client behind a proxy must sign in, because the server assumes another machine.
    ...{ extraHTTPHeaders: { "x-forwarded-for": "192.0.2.7" }, locale: "en-GB", reducedMotion: "reduce" },
    viewport: { width: 1280, height: 800 },
  });
  contexts.push(context);
  context.setDefaultTimeout(40_000);
  const page = await context.newPage();
  await page.goto(skylapse.http);
  await signIn(page, user, PASSWORD);
  return page;
}

async function signIn(page: Page, user: string, password: string): Promise<void> {
  await page.getByLabel("User").fill(user);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await live(page);
}

const live = (page: Page) => page.locator('.app[data-live="true"]').waitFor();
const dialogOf = (page: Page) => page.getByRole("dialog", { name: "My account" });

it("leads an admin, and nobody else, from a fleet without cameras to the first run", { timeout: 60_000 }, async () => {
  const [admin, viewer] = [await signedIn("ada"), await signedIn("vera")];
  await viewer.getByText("No camera yet").waitFor();
  expect(await viewer.getByRole("link", { name: "Add the first camera" }).count()).toBe(0);
  await admin.getByRole("link", { name: "Add the first camera" }).click();
  await admin.waitForURL("**/#/first-run");
});

it("lists the sessions of a viewer, and ends one of them or all others", async () => {
  const [edge, script, phone] = [
    await logInElsewhere(WINDOWS),
    await logInElsewhere("curl/8.0"),
    await logInElsewhere("Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0"),
  ];
  const page = await signedIn("vera");
  await page.getByRole("button", { name: "My account: vera" }).click();
  const dialog = dialogOf(page);
  const session = (name: string) => dialog.getByTestId("session").filter({ hasText: name });
  await session("Edge on Windows").waitFor();
  await session("Firefox on Android").waitFor();
  // Its own session is marked, and is ended by signing out.
  const own = session("This browser");
  expect(await own.textContent()).toMatch(/Chrome on Linux.*127\.0\.0\.1/);
  expect(await own.getByRole("button").allTextContents()).toEqual(["Sign out"]);
  await expectGoodLooks(page, "account");
  await page.setViewportSize({ width: 1280, height: 800 });

  await session("curl/8.0").getByRole("button", { name: "End", exact: true }).click();
  await session("curl/8.0").getByRole("button", { name: "End it now" }).click();
  await expect.poll(() => session("curl/8.0").count()).toBe(0);
  expect([await script(), await edge(), await phone()]).toEqual([401, 200, 200]);
  await dialog.getByRole("button", { name: "End all other sessions" }).click();
  await dialog.getByText(/^Signs \d+ other browsers out\.$/).waitFor();
  await dialog.getByRole("button", { name: "End it now" }).click();
  await expect.poll(() => dialog.getByTestId("session").count()).toBe(1);
  expect([await edge(), await phone()]).toEqual([401, 401]);

  await page.setViewportSize({ width: 390, height: 800 });
  await own.getByRole("button", { name: "Sign out" }).click();
  await page.getByTestId("sign-in").waitFor();
});

it("changes the password, ends all other sessions, and stays signed in", async () => {
  const [page, other] = [await signedIn("vera"), await signedIn("vera")];
  // Tabs of one browser share the session.
  const tab = await page.context().newPage();
  await tab.goto(`${skylapse.http}/#/alerts`);
  await live(tab);
  await page.bringToFront();
  await page.getByTestId("account").click();
  const dialog = dialogOf(page);
  const change = async (current: string): Promise<void> => {
    await dialog.getByLabel("Current password").fill(current);
    await dialog.getByLabel("New password").fill(NEXT_PASSWORD);
    await dialog.getByRole("button", { name: "Change the password" }).click();
  };
  await change("a wrong password");
  await dialog.getByText("The current password is wrong.").waitFor();
  await change(PASSWORD);
  await dialog.getByText("The password is changed, and all other sessions have ended.").waitFor();
  await other.getByTestId("sign-in").waitFor();
  await expect.poll(() => dialog.getByTestId("session").count()).toBe(1);
  await live(page);
  await live(tab);
  await page.reload();
  await live(page);
  await signIn(other, "vera", NEXT_PASSWORD);
});

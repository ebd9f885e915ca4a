import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { launchBrowser, letClose, type OwnBrowser } from "../support/browser.ts";
import { JWT_SECRET } from "../support/dashboard.ts";
import { type OidcProvider, startOidcProvider } from "../support/oidc-provider.ts";
import { expectGoodLooks } from "../support/page-looks.ts";
import { freePort } from "../support/ports.ts";
import { removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
const TIMEOUT_MS = 40_000;

let browser: OwnBrowser;
let provider: OidcProvider;
let skylapse: Skylapse;
let context: BrowserContext;
let env: Record<string, string>;

beforeAll(async () => {
  const port = await freePort();
  const redirectUrl = `http://127.0.0.1:${port}/auth/oidc/callback`;
  const groups = { ada: ["sky-admins"], bob: ["sky-guests"], eve: ["others"] };
  [browser, provider] = await Promise.all([launchBrowser(), startOidcProvider({ redirectUrl, groups })]);
  env = {
    ...{ JWT_SECRET, OPERATOR_KEY, SIMULATOR: "0", WS_PORT: String(port), ACCESS_TOKEN_TTL_SECONDS: "62" },
    ...{ ...provider.env, OIDC_NAME: "Mountain ID" },
  };
  skylapse = await startSkylapse({ env });
  await operator("POST", "/users", { user_id: "vera", password: "a long enough password", role: "admin" });
});
afterAll(async () => {
  await browser.end();
  await skylapse.end("SIGKILL");
  await provider.stop();
  removeDataPath(skylapse.dataPath);
});
beforeEach(async () => {
  context = await browser.browser.newContext({ locale: "en-GB", reducedMotion: "reduce" });
  context.setDefaultTimeout(TIMEOUT_MS);
});
afterEach(() => letClose(context));

async function operator(method: string, path: string, body: object): Promise<void> {
  const headers = { authorization: `Bearer ${OPERATOR_KEY}`, "content-type": "application/json" };
  const answer = await fetch(`${skylapse.http}${path}`, { method, headers, body: JSON.stringify(body) });
  expect(answer.ok).toBe(true);
}

async function open(place = ""): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${skylapse.http}/${place}`);
  return page;
}

const live = (page: Page) => page.locator('.app[data-live="true"]').waitFor();
const button = (page: Page) => page.getByRole("link", { name: "Sign in with Mountain ID" });

async function signIn(page: Page, user: string, answer = "Sign in"): Promise<void> {
  await button(page).click();
  await page.getByLabel("User").fill(user);
  await page.getByRole("button", { name: answer }).click();
}

it("signs in with the identity provider, comes back to the place, and keeps the session over a reload", async () => {
  const page = await open("#/system");
  await signIn(page, "ada");
  await page.getByRole("heading", { level: 1, name: "System" }).waitFor();
  await live(page);
  expect(page.url()).toBe(`${skylapse.http}/#/system`);
  expect(await page.getByRole("button", { name: "Sign out" }).getAttribute("title")).toContain("idp:ada");
  await page.reload();
  await live(page);
  // The provider's cookies have the same host.
  const own = (await context.cookies()).filter(({ name }) => name.startsWith("skylapse_"));
  expect(own).toEqual([]);
  await page.getByRole("button", { name: "Sign out" }).click();
  await button(page).waitFor();
});

it("says why the sign-in failed, in the language of the page", async () => {
  const page = await open();
  await signIn(page, "eve");
  await page.getByText("none of your groups may use this server").waitFor();
  // The provider has signed eve in already, and asks nothing.
  await context.clearCookies();
  await signIn(page, "bob", "Deny");
  await page.getByText("The identity provider did not sign you in.").waitFor();
  await page.getByTestId("preferences").click();
  await page.getByLabel("Language", { exact: true }).selectOption("de");
  await page.getByText("Der Anmeldedienst hat Sie nicht angemeldet.").waitFor();
});

it("renews its token, reconnects after a restart, and asks for a sign-in when an admin disables the user", {
  timeout: 120_000,
}, async () => {
  const page = await open();
  const renewed = page.waitForResponse((response) => response.url().endsWith("/auth/refresh"), { timeout: 60_000 });
  await signIn(page, "bob");
  await live(page);
  // The server asks for a new token 60 s before the old one expires, which is at once.
  expect((await renewed).status()).toBe(200);
  await skylapse.end("SIGKILL");
  await page.locator('.app[data-live="false"]').waitFor();
  skylapse = await startSkylapse({ env, dataPath: skylapse.dataPath });
  await live(page);
  await operator("PUT", "/users/idp:bob", { enabled: false });
  await page.getByText("Your session was ended").waitFor();
  await button(page).click();
  await page.getByText("An admin has disabled your account on this server.").waitFor();
});

it("fits all screens, light and dark, and works by keyboard", { timeout: 60_000 }, async () => {
  const page = await open();
  await button(page).waitFor();
  await expectGoodLooks(page, "sign-in");
  await button(page).focus();
  await page.keyboard.press("Tab");
  expect(await page.evaluate(() => document.activeElement?.getAttribute("name"))).toBe("user");
  await page.keyboard.type("vera");
  await page.keyboard.press("Tab");
  await page.keyboard.type("a long enough password");
  await page.keyboard.press("Enter");
  await live(page);
});

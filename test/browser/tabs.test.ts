import type { BrowserContext, Page, WebSocket } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { launchBrowser, type OwnBrowser } from "../support/browser.ts";
import { removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
const PASSWORD = "a long enough password";

let browser: OwnBrowser;
let skylapse: Skylapse;
let context: BrowserContext;

beforeAll(async () => {
  [browser, skylapse] = await Promise.all([
    launchBrowser(),
    // The server asks for a new token 60 s before the present one expires, which is after 2 s.
    startSkylapse({ env: { OPERATOR_KEY, ACCESS_TOKEN_TTL_SECONDS: "62", MAX_TOKEN_REQUESTS_PER_MINUTE: "0" } }),
  ]);
  await operator("POST", "/users", { user_id: "vera", password: PASSWORD, role: "viewer" });
  // A client behind a proxy must sign in, because the server assumes another machine.
  context = await browser.browser.newContext({ extraHTTPHeaders: { "x-forwarded-for": "192.0.2.7" }, locale: "en-GB" });
  context.setDefaultTimeout(40_000);
});
afterAll(async () => {
  await browser.end();
  await skylapse.end("SIGKILL");
  removeDataPath(skylapse.dataPath);
});

async function operator(method: string, path: string, body: object): Promise<void> {
  const headers = { authorization: `Bearer ${OPERATOR_KEY}`, "content-type": "application/json" };
  const answer = await fetch(skylapse.http + path, { method, headers, body: JSON.stringify(body) });
  expect([path, answer.ok]).toEqual([path, true]);
}

/** The connections of a tab. */
interface Tab {
  page: Page;
  open: Set<WebSocket>;
  /** The types of the messages on all connections of the tab. */
  sent: string[];
  received: string[];
}

async function openTab(): Promise<Tab> {
  const page = await context.newPage();
  const tab: Tab = { page, open: new Set(), sent: [], received: [] };
  const typeOf = (payload: string | Buffer) => String((JSON.parse(String(payload)) as { type?: unknown }).type);
  page.on("websocket", (socket) => {
    tab.open.add(socket);
    socket.on("close", () => tab.open.delete(socket));
    socket.on("framesent", ({ payload }) => tab.sent.push(typeOf(payload)));
    socket.on("framereceived", ({ payload }) => tab.received.push(typeOf(payload)));
  });
  await page.goto(skylapse.http);
  return tab;
}

const count = (types: readonly string[], type: string) => types.filter((each) => each === type).length;
const live = ({ page }: Tab) => page.locator('.app[data-live="true"]').waitFor();
const people = ({ page }: Tab) => page.getByRole("navigation").getByRole("link", { name: "People" });

it("signs in through a tab that follows, renews the token of the shared connection, and goes on after the leader is closed", {
  timeout: 120_000,
}, async () => {
  const leader = await openTab();
  await leader.page.getByTestId("sign-in").waitFor();
  const follower = await openTab();
  await follower.page.getByLabel("User").fill("vera");
  await follower.page.getByLabel("Password").fill(PASSWORD);
  await follower.page.getByRole("button", { name: "Sign in" }).click();
  await live(leader);
  await live(follower);
  // A new tab gets its first state by a connection of its own.
  await expect.poll(() => follower.open.size).toBe(0);
  expect(leader.open.size).toBe(1);

  const [connection] = leader.open;
  await expect.poll(() => count(leader.received, "auth_success")).toBeGreaterThanOrEqual(3);
  expect(count(leader.received, "token_expiring")).toBeGreaterThanOrEqual(2);
  expect([...leader.open]).toEqual([connection]);
  // The renewed connection serves the follower, too: it learns at once what the user may do now.
  expect(await people(follower).count()).toBe(0);
  await operator("PUT", "/users/vera", { role: "admin" });
  await people(follower).waitFor();
  await people(leader).waitFor();
  expect(follower.open.size).toBe(0);

  await leader.page.close();
  await expect.poll(() => follower.open.size).toBe(1);
  await expect.poll(() => count(follower.sent, "auth")).toBeGreaterThanOrEqual(1);
  await live(follower);
});

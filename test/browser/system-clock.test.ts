import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { launchBrowser, type OwnBrowser } from "../support/browser.ts";
import { seriousFindings } from "../support/page-looks.ts";
import { shiftedClock } from "../support/shifted-clock.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
const PASSWORD = "a long enough password";
const DAY_MS = 86_400_000;

const folder = makeDataPath();
let browser: OwnBrowser;
let skylapse: Skylapse;

const start = (env: Record<string, string> = {}) =>
  startSkylapse({ dataPath: join(folder, "server"), env: { OPERATOR_KEY, ...env } });

async function ask(path: string, body?: object): Promise<unknown> {
  const answer = await fetch(skylapse.http + path, {
    headers: { authorization: `Bearer ${OPERATOR_KEY}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
  });
  return answer.json();
}

beforeAll(async () => {
  browser = await launchBrowser();
  skylapse = await start();
  await ask("/users", { user_id: "ada", password: PASSWORD, role: "admin" });
  await ask("/users", { user_id: "vera", password: PASSWORD, role: "viewer" });
  await skylapse.end();
  skylapse = await start({ NODE_OPTIONS: shiftedClock(folder, 8 * DAY_MS) });
});
afterAll(async () => {
  await browser.end();
  await skylapse.end("SIGKILL");
  removeDataPath(folder);
});

async function openSystem(user: string) {
  const context = await browser.browser.newContext({ locale: "en-GB", reducedMotion: "reduce" });
  context.setDefaultTimeout(40_000);
  const page = await context.newPage();
  await page.goto(`${skylapse.http}/#/system`);
  await page.getByLabel("User").fill(user);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText(/^The system's clock has jumped by 691,\d{3} s$/).waitFor();
  return page;
}

it("shows everybody a jump of the system's clock, and lets only an admin confirm it, after a question", async () => {
  const viewer = await openSystem("vera");
  await viewer.getByText("An admin must confirm the jump.").waitFor();
  for (const name of ["The server was off", "The clock was corrected"])
    expect(await viewer.getByRole("button", { name }).isDisabled()).toBe(true);

  const page = await openSystem("ada");
  expect(await seriousFindings(page)).toEqual([]);
  await page.getByRole("button", { name: "The clock was corrected" }).click();
  await page.getByText("All ages stay as they are, and new times follow the system's clock.").waitFor();
  await page.getByRole("button", { name: "Cancel" }).click();
  expect(await ask("/clock")).toHaveProperty("jump");
  await page.getByRole("button", { name: "The server was off" }).click();
  await page.getByText("All ages grow by the length of the jump, and expired data is deleted.").waitFor();
  await page.getByRole("button", { name: "Confirm the jump" }).click();
  await page.getByText("Right", { exact: true }).waitFor();
  expect(await ask("/clock")).not.toHaveProperty("jump");
  const { lines } = (await ask("/audit")) as { lines: { action: string; who: string; outcome: string }[] };
  const accepted = { who: "user:ada", outcome: expect.stringMatching(/^691\d{3} s, time passed: true$/) };
  expect(lines.find(({ action }) => action === "clock.accept")).toMatchObject(accepted);
});

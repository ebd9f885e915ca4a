import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { type BadProxy, startBadProxy } from "../support/bad-proxy.ts";
import { launchBrowser, letClose, type OwnBrowser } from "../support/browser.ts";
import { bundled } from "../support/bundled.ts";
import { expectGoodLooks } from "../support/page-looks.ts";
import { removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const TIMEOUT_MS = 40_000;
const PROGRAM = bundled("device/main.js");
const PASSWORD = "a long enough password";

let browser: OwnBrowser;
let skylapse: Skylapse;
let proxy: BadProxy;
let context: BrowserContext;
let camera: ChildProcess | undefined;

beforeAll(async () => {
  [browser, skylapse] = await Promise.all([launchBrowser(), startSkylapse({ env: { SIMULATOR: "0" } })]);
  proxy = await startBadProxy(skylapse.http);
});
afterAll(async () => {
  await browser.end();
  camera?.kill("SIGKILL");
  await proxy.stop();
  await skylapse.end("SIGKILL");
  removeDataPath(skylapse.dataPath);
});
beforeEach(async () => {
  context = await browser.browser.newContext({ locale: "en-GB", timezoneId: "Europe/Zurich", reducedMotion: "reduce" });
  context.setDefaultTimeout(TIMEOUT_MS);
});
afterEach(() => letClose(context));

async function open(address: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(address);
  return page;
}

/** The code in the lines of the start. */
function setupCode(): string {
  const [, code = ""] = /set-up code ([A-Z0-9-]{14})/.exec(skylapse.output()) ?? [];
  expect(code).not.toBe("");
  return code;
}

/** Runs the shown command in a shell, without the delay of npx. */
function runCommand(command: string): ChildProcess {
  const program = `exec "${process.execPath}" "${PROGRAM}"`;
  const env = { PATH: process.env.PATH, DATA_PATH: join(skylapse.dataPath, "camera"), LOG_LEVEL: "fatal" };
  return spawn("sh", ["-c", command.replace("npx skylapse-camera", program)], { env, stdio: "ignore" });
}

it("says in plain words what is wrong with a proxy that is not set right", async () => {
  const page = await open(proxy.http);
  await page.getByRole("heading", { level: 1, name: "Set up this server" }).waitFor();
  const host = page.getByTestId("proxy-host_changed");
  expect(await host.textContent()).toContain(`The browser asks for ${new URL(proxy.http).host}`);
  const trust = page.getByTestId("proxy-untrusted_proxy");
  expect(await trust.textContent()).toContain("TRUSTED_PROXIES=127.0.0.1");
  await expectGoodLooks(page, "first-run-proxy");
});

it("guides an empty server to the first admin and the first camera, which connects with the shown command", {
  timeout: 150_000,
}, async () => {
  const page = await open(skylapse.http);
  await page.getByLabel("Set-up code").fill("AAAA-AAAA-AAAA");
  await page.getByLabel("User").fill("ada");
  await page.getByLabel("Password").fill(PASSWORD);
  await page.keyboard.press("Enter");
  await expect.poll(() => page.getByRole("alert").textContent()).toContain("The set-up code is wrong");
  await expectGoodLooks(page, "first-run-admin");
  await page.getByLabel("Set-up code").fill(setupCode().toLowerCase());
  await page.getByRole("button", { name: "Add the admin" }).click();

  await page.getByRole("heading", { level: 1, name: "Add a camera" }).waitFor();
  await page.locator('.app[data-live="true"]').waitFor();
  await page.getByLabel("Id", { exact: true }).fill("north");
  await page.getByLabel("Takes pictures with").selectOption("simulated");
  await page.getByLabel("Latitude").fill("46.02");
  await page.getByLabel("Longitude").fill("7.75");
  expect(await page.getByLabel("Time zone").inputValue()).toBe("Europe/Zurich");
  await expectGoodLooks(page, "first-run-camera");
  await page.getByRole("button", { name: "Add the camera" }).click();

  await page.getByText("Waiting for north to connect…").waitFor();
  await page.getByRole("img", { name: "QR code with the settings of north" }).waitFor();
  await expectGoodLooks(page, "first-run-instructions");
  const command = (await page.getByTestId("camera-command").textContent()) ?? "";
  expect(command).toContain(`BROKER_URL=mqtt://127.0.0.1:${new URL(skylapse.mqtt).port}`);
  camera = runCommand(command);
  await page.getByText("north is connected").waitFor();
  await page.getByRole("link", { name: "Open the camera" }).click();
  await expect.poll(() => page.url()).toBe(`${skylapse.http}/#/cameras/north`);

  // Nobody can add a second first admin, and the page asks for a sign-in.
  const other = await browser.browser.newContext({ locale: "en-GB" });
  const stranger = await other.newPage();
  await stranger.goto(skylapse.http);
  await stranger.getByRole("heading", { level: 1, name: "Sign in" }).waitFor();
  letClose(other);
});

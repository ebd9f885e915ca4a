import { connectAsync } from "mqtt";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { launchBrowser, letClose, type OwnBrowser } from "../support/browser.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { expectGoodLooks } from "../support/page-looks.ts";
import { removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const PASSWORD = "a long enough password";
const TIMEOUT_MS = 40_000;
const wait = { timeout: TIMEOUT_MS, interval: 100 };

let browser: OwnBrowser;
let skylapse: Skylapse;
let context: BrowserContext;
let page: Page;
let faults: string[];

beforeAll(async () => {
  const env = { JWT_SECRET, SIMULATOR: "2", CAPTURE_INTERVAL_S: "3600", ARCHIVE: "on" };
  [browser, skylapse] = await Promise.all([launchBrowser(), startSkylapse({ env })]);
  await call("POST", "/users", { user_id: "ada", password: PASSWORD, role: "admin" });
  context = await browser.browser.newContext({ locale: "en-GB", timezoneId: "Europe/Zurich", reducedMotion: "reduce" });
  context.setDefaultTimeout(TIMEOUT_MS);
  const first = await context.newPage();
  await first.goto(skylapse.http);
  await first.getByLabel("User").fill("ada");
  await first.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await first.getByRole("button", { name: "Sign in" }).click();
  await first.getByTestId("camera-status-north").waitFor();
  letClose(first);
});
afterAll(async () => {
  await browser.end();
  await skylapse.end("SIGKILL");
  removeDataPath(skylapse.dataPath);
});
beforeEach(async () => {
  page = await context.newPage();
  faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
});
afterEach(() => {
  expect(faults).toEqual([]);
  letClose(page);
});

async function call(method: string, path: string, body?: object) {
  const headers = { authorization: `Bearer ${signToken("root", ["admin"])}` };
  const init = body === undefined ? { method, headers } : { method, headers, body: JSON.stringify(body) };
  const answer = await fetch(`${skylapse.http}${path}`, init);
  expect([path, answer.ok]).toEqual([path, true]);
  return answer.status === 204 ? undefined : await answer.json();
}

const stateOf = async (name: string, camera = "north") => (await call("GET", `/cameras/${camera}`)).states[name]?.data;

async function open(tab: string, camera = "north"): Promise<void> {
  await page.goto(`${skylapse.http}/#/cameras/${camera}/${tab}`);
  await page.locator('.app[data-live="true"]').waitFor();
}

const desired = (status: string) => page.locator(`[data-testid="desired"][data-status="${status}"]`);

it("plans a schedule as the camera does, estimates its pictures, and saves it until the camera has it", async () => {
  await call("POST", "/cameras/north/commands?wait=60", { name: "capture.now" });
  // The archive has the picture a moment later.
  const archived = async () => (await call("GET", "/events?camera=north&event=capture.completed")).events.length;
  await expect.poll(archived, wait).toBeGreaterThan(0);
  await open("schedule");
  const save = page.getByRole("button", { name: "Save the schedule" });
  await page.getByText("Nobody has changed this here.").waitFor();
  expect(await save.isDisabled()).toBe(true);
  expect(await page.getByTestId("why-not").textContent()).toBe("Nothing has changed yet.");

  const interval = page.getByLabel("A picture every (seconds)");
  await interval.fill("0");
  await page.getByText("A number from 1 to 86,400").waitFor();
  expect(await page.getByTestId("why-not").textContent()).toBe("Correct the marked fields first.");
  await interval.fill("600");
  // One at each whole multiple of the interval, and one when the window opens at midnight.
  await expect.poll(() => page.getByTestId("need").textContent(), wait).toMatch(/Pictures on this day145/);
  await expect.poll(() => page.getByTestId("need").textContent(), wait).toMatch(/Data on this day[\d.]+ MB/);
  await save.click();
  await desired("applied").waitFor();
  expect(await stateOf("schedule")).toMatchObject({ entries: [{ kind: "clock", interval_s: 600 }] });
  // The camera plans the same picture. Both plan the next one when its time comes.
  const planned = () => page.getByTestId("next-captures").locator("time").first().getAttribute("datetime");
  await expect.poll(async () => (await stateOf("capture")).next_capture_at === (await planned()), wait).toBe(true);
  expect(await page.getByTestId("desired").textContent()).toMatch(/The camera has thisVersion 1, by ada/);

  // Another person changes the schedule, while this page has a change that is not saved.
  await interval.fill("60");
  const entries = [{ kind: "solar", anchor: "sunset", offset_min: -30, duration_min: 60, interval_s: 120 }];
  await call("POST", "/cameras/north/commands?wait=30", { name: "schedule.set", args: { entries } });
  await page.getByText("Somebody else has changed this meanwhile.").waitFor();
  expect(await interval.inputValue()).toBe("60");
  await page.getByRole("button", { name: "Show the new version" }).click();
  await page.getByRole("group", { name: "Window 1, by the sun" }).waitFor();
  await page.getByText("Version 2, by root").waitFor();
});

it("edits windows by keyboard, and shows the windows of a day", async () => {
  await call("PUT", "/cameras/north/schedule", { entries: [] });
  await open("schedule");
  await page.getByText("Without a window, the camera takes no pictures by itself.").waitFor();
  await page.getByRole("button", { name: "Add a window by the clock" }).focus();
  await page.keyboard.press("Enter");
  await page.getByLabel("Begins", { exact: true }).focus();
  await page.keyboard.type("1000PM");
  await page.getByLabel("Ends").focus();
  await page.keyboard.type("0400AM");
  await page.getByText("On the next day").waitFor();
  // The window of this evening, and the rest of the one of yesterday.
  await expect.poll(() => page.getByTestId("day-windows").locator("li").count()).toBe(2);
  await page.getByRole("checkbox", { name: "Mon" }).focus();
  await page.keyboard.press("Space");
  await page.getByRole("button", { name: "Save the schedule" }).focus();
  await page.keyboard.press("Enter");
  await expect
    .poll(async () => (await stateOf("schedule")).entries, wait)
    .toEqual([{ kind: "clock", start: "22:00", end: "04:00", interval_s: 300, days: [2, 3, 4, 5, 6, 7] }]);
});

it("shows since when a camera that was changed elsewhere differs, and lets people edit what the camera has", async () => {
  const morning = { kind: "clock", start: "06:00", end: "09:00", interval_s: 60 };
  await call("PUT", "/cameras/south/schedule", { entries: [morning] });
  await open("schedule", "south");
  await desired("applied").waitFor();
  // What a camera of another maker may report.
  const mqtt = await connectAsync(skylapse.mqtt, { username: "root", password: signToken("root", ["admin"]) });
  const report = JSON.stringify({ entries: [{ ...morning, interval_s: 30 }] });
  await mqtt.publishAsync("skylapse/v1/cameras/south/state/schedule", report, { qos: 1, retain: true });
  await mqtt.endAsync();
  await desired("differs").waitFor();
  await page.getByText("06:00 to 09:00, a picture every 30 s").waitFor();
  await page.getByRole("button", { name: "Edit what the camera has" }).click();
  expect(await page.getByLabel("A picture every (seconds)").inputValue()).toBe("30");
  await expectGoodLooks(page, "camera-schedule");
});

it("makes the form of the settings from what the camera says, and saves them until the camera has them", async () => {
  await open("settings");
  const save = page.getByRole("button", { name: "Save the settings" });
  await page.getByLabel("ISO").selectOption("400");
  await page.getByLabel("Exposure time").fill("1/0");
  expect(await page.getByTestId("why-not").textContent()).toBe("Correct the marked fields first.");
  await page.getByLabel("Exposure time").fill("1/250");
  await page.getByLabel("White balance").selectOption("cloudy");
  await page.getByLabel("HDR").selectOption("false");
  await save.click();
  await desired("applied").waitFor();
  const { cause: _, ...settings } = await stateOf("settings");
  expect(settings).toEqual({ iso: 400, exposure_s: 0.004, white_balance: "cloudy", hdr: false });
  await expect.poll(() => page.getByTestId("why-not").textContent()).toBe("Nothing has changed yet.");
  await page.getByLabel("ISO").selectOption("");
  await save.click();
  await expect.poll(async () => (await stateOf("settings")).iso, wait).toBeUndefined();
  await expectGoodLooks(page, "camera-settings");
});

it("gives commands with their progress, lists them with sender and outcome, and says why a button is off", async () => {
  await open("commands");
  const send = page.getByRole("button", { name: "Send the newest picture again" });
  expect(await send.isDisabled()).toBe(true);
  await page.getByText("This camera says that it cannot do this.").waitFor();
  await page.getByRole("button", { name: "Take a picture" }).click();
  const progress = page.getByTestId("command-progress");
  await expect.poll(() => progress.textContent(), wait).toBe("Take a picture: Done");
  const rows = page.getByTestId("past-command");
  await expect.poll(() => rows.first().textContent(), wait).toMatch(/^Take a pictureDoneby ada/);
  expect(await rows.allTextContents()).toContainEqual(expect.stringMatching(/^Set settingsDoneby ada/));
  await expectGoodLooks(page, "camera-commands");

  await page.getByRole("button", { name: "Sleep" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Until").fill("2020-01-01T00:00");
  await dialog.getByText("This time has passed.").waitFor();
  await dialog.getByRole("button", { name: "8 h 00 min" }).click();
  await dialog.getByRole("button", { name: "Sleep" }).click();
  await expect.poll(() => progress.textContent(), wait).toBe("Sleep: Done");
  await page.getByText("The camera is asleep already.").waitFor();
  await page.getByText("Waits until the camera wakes up.").first().waitFor();
  await call("PUT", "/cameras/north/schedule", { entries: [] });
  await open("schedule");
  await page.getByText("The camera is asleep and gets this when it wakes up").waitFor();
});

it("changes name, notes and place, replaces the secret, and removes a camera after a question", async () => {
  await open("manage", "south");
  await page.getByLabel("Name").fill("Ridge");
  await page.getByLabel("Notes").fill("The key is at the hut.");
  await page.getByLabel("Latitude").fill("46,5");
  await page.getByText("Fill in both, or neither.").waitFor();
  await page.getByLabel("Longitude").fill("7.9");
  await page.getByRole("button", { name: "Save" }).click();
  await expect
    .poll(async () => (await call("GET", "/cameras/south")).record, wait)
    .toMatchObject({ name: "Ridge", notes: "The key is at the hut.", location: { lat: 46.5, lon: 7.9 } });
  await expectGoodLooks(page, "camera-manage");

  await page.getByRole("button", { name: "New secret…" }).click();
  await page.getByRole("dialog").getByText("is disconnected at once").waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "New secret…" }).click();
  expect(await page.getByTestId("new-secret").textContent()).toMatch(/^[\w-]{43}$/);
  await page.getByRole("button", { name: "I have kept it" }).click();
  await page.getByTestId("new-secret").waitFor({ state: "detached" });

  await page.getByRole("button", { name: "Remove the camera…" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("button", { name: "Remove the camera…" }).click();
  await page.getByRole("dialog").getByText("can never connect again").waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Remove the camera…" }).click();
  await expect.poll(() => page.url(), wait).toMatch(/#\/$/);
  const ids = async () => (await call("GET", "/cameras")).cameras.map(({ id }: { id: string }) => id);
  await expect.poll(ids, wait).toEqual(["north"]);
});

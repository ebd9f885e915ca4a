import { connectAsync, type MqttClient } from "mqtt";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { launchBrowser, letClose, type OwnBrowser } from "../support/browser.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { expectGoodLooks } from "../support/page-looks.ts";
import { removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
const PASSWORD = "a long enough password";
const TIMEOUT_MS = 40_000;

let browser: OwnBrowser;
let skylapse: Skylapse;
let device: MqttClient;
let page: Page;
let faults: string[] = [];
/** The browser of each user who has signed in. */
const contexts = new Map<string, BrowserContext>();

beforeAll(async () => {
  [browser, skylapse] = await Promise.all([
    launchBrowser(),
    startSkylapse({
      env: { JWT_SECRET, OPERATOR_KEY, SIMULATOR: "1", ARCHIVE: "on", MAX_TOKEN_REQUESTS_PER_MINUTE: "0" },
    }),
  ]);
  await operator("POST", "/users", { user_id: "ada", password: PASSWORD, role: "admin" });
  await operator("POST", "/users", { user_id: "vera", password: PASSWORD, role: "viewer" });
  const admin = { username: "tests", password: signToken("tests", ["admin"]) };
  device = await connectAsync(skylapse.mqtt, { ...admin, protocolVersion: 5 });
});
afterAll(async () => {
  await device.endAsync();
  await browser.end();
  await skylapse.end("SIGKILL");
  removeDataPath(skylapse.dataPath);
});
afterEach(() => {
  letClose(page);
  expect(faults).toEqual([]);
});

async function operator(method: string, path: string, body?: object): Promise<unknown> {
  const headers = { authorization: `Bearer ${OPERATOR_KEY}`, "content-type": "application/json" };
  const answer = await fetch(`${skylapse.http}${path}`, {
    ...{ method, headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  expect([path, answer.ok]).toEqual([path, true]);
  return answer.status === 204 ? undefined : await answer.json();
}

const publish = (topic: string, data: unknown) =>
  device.publishAsync(`skylapse/v1/${topic}`, data === null ? "" : JSON.stringify(data), { qos: 1, retain: true });

async function newContext(): Promise<BrowserContext> {
  // A client behind a proxy must sign in, because the server assumes another machine.
  const headers = { "x-forwarded-for": "192.0.2.7" };
  const context = await browser.browser.newContext({
    ...{ extraHTTPHeaders: headers, locale: "en-GB", reducedMotion: "reduce", acceptDownloads: true },
    viewport: { width: 1280, height: 800 },
  });
  context.setDefaultTimeout(TIMEOUT_MS);
  return context;
}

/** Opens a place as a user. The first time, the user signs in. */
async function openAs(user: string, place: string): Promise<void> {
  const known = contexts.get(user);
  const context = known ?? (await newContext());
  contexts.set(user, context);
  page = await context.newPage();
  faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
  await page.goto(`${skylapse.http}/#${place}`);
  if (known === undefined) {
    await page.getByLabel("User").fill(user);
    await page.getByLabel("Password").fill(PASSWORD);
    await page.getByRole("button", { name: "Sign in" }).click();
  }
  await page.locator('.app[data-live="true"]').waitFor();
}

const button = (name: string | RegExp) => page.getByRole("button", { name, exact: true });
const dialog = () => page.getByRole("dialog");

/** A record of a list, such as an account. */
const record = (testId: string, title: string) => page.getByTestId(testId).filter({ hasText: title });

describe("the place Alerts", () => {
  const heater = () => page.getByTestId("alert-row").filter({ hasText: "The heater is cold" });

  beforeEach(() =>
    publish("cameras/north/alerts/heater", { alert: "heater", severity: "warning", message: "The heater is cold" }),
  );

  it("lets an admin acknowledge an alert, mute it for a time, and read its history, by keyboard", {
    timeout: 120_000,
  }, async () => {
    await publish("cameras/north/alerts/lens", { alert: "lens", severity: "critical", message: "The lens is frozen" });
    await openAs("ada", "/alerts");
    await heater().waitFor();
    // The most severe alert is the first one.
    expect(await page.getByTestId("alert-row").first().textContent()).toContain("The lens is frozen");
    await expectGoodLooks(page, "alerts");
    await page.setViewportSize({ width: 1280, height: 800 });

    await heater().getByRole("button", { name: "Acknowledge" }).focus();
    await page.keyboard.press("Enter");
    await heater().getByText("Acknowledged by ada,").waitFor();
    expect(await heater().getByRole("button", { name: "Acknowledged" }).isDisabled()).toBe(true);

    await heater().getByRole("button", { name: "Mute…" }).focus();
    await page.keyboard.press("Enter");
    await dialog().getByLabel("For").selectOption({ label: "8 hours" });
    await dialog().getByRole("button", { name: "Mute" }).focus();
    await page.keyboard.press("Enter");
    await heater().getByText("Muted by ada until").waitFor();
    await expect.poll(() => page.getByTestId("alert-row").last().textContent()).toContain("The heater is cold");

    // The alert ends, and its acknowledgement with it. The mute stays.
    await publish("cameras/north/alerts/heater", null);
    await page.getByTestId("muted-alert").waitFor();
    await publish("cameras/north/alerts/heater", {
      alert: "heater",
      severity: "warning",
      message: "The heater is cold",
    });
    await heater().getByText("Muted by ada until").waitFor();
    expect(await heater().getByText("Acknowledged by").count()).toBe(0);
    await heater().getByRole("button", { name: "End the mute" }).click();
    await heater().getByRole("button", { name: "Mute…" }).waitFor();

    // Each change is in the history a moment later, without a reload.
    await page.getByTestId("past-event").filter({ hasText: "No longer muted: heater" }).first().waitFor();
    expect(await page.getByTestId("history").textContent()).toContain("Muted: heaterNorth ridge · ada, until");
    await page.getByLabel("Camera").selectOption("north");
    await expect.poll(() => page.url()).toContain("#/alerts?camera=north");
    await page.getByTestId("past-event").first().waitFor();
  });

  it("says to a viewer why the buttons are off, in German too", async () => {
    await openAs("vera", "/alerts");
    await heater().waitFor();
    const acknowledge = heater().getByRole("button", { name: "Acknowledge" });
    expect(await acknowledge.isDisabled()).toBe(true);
    expect(await heater().textContent()).toContain("You may not control this camera.");
    await page.evaluate(() => localStorage.setItem("skylapse:preferences", JSON.stringify({ language: "de" })));
    await page.reload();
    await heater().getByRole("button", { name: "Bestätigen" }).waitFor();
    await page.getByText("Sie dürfen diese Kamera nicht steuern.").first().waitFor();
    await page.evaluate(() => localStorage.removeItem("skylapse:preferences"));
  });
});

describe("the place Jobs", () => {
  it("shows what runs and what was made, with films to play and download", { timeout: 120_000 }, async () => {
    const film = {
      ...{ output: "1080p", url: "https://films.example.org/a.mp4", size_bytes: 24_000_000, width: 1920, height: 1080 },
      ...{ frames: 300, duration_s: 12 },
    };
    const job = { type: "timelapse_assembly", camera: "north", outputs: ["1080p"] };
    await publish("processing/farm/link", { status: "online", session: "s1" });
    await publish("processing/farm/jobs/j1", { ...job, job: "j1", status: "processing", progress: 41.7 });
    await publish("processing/farm/jobs/j2", { ...job, job: "j2", status: "completed", progress: 100, films: [film] });
    await publish("processing/farm/jobs/j3", {
      ...job,
      job: "j3",
      status: "failed",
      progress: 3,
      error: "no pictures",
    });
    await openAs("vera", "/jobs");
    const running = page.getByTestId("job-row").filter({ hasText: "42 %" });
    await running.waitFor();
    expect(await running.getByRole("progressbar").getAttribute("aria-valuenow")).toBe("42");
    await page.getByText("farm is connected").waitFor();
    const past = page.getByTestId("past-event").filter({ hasText: "24.0 MB" });
    await past.waitFor();
    expect(await past.textContent()).toContain(
      "Timelapse finishedNorth ridge · 1080pPlay 1080pDownload24.0 MB, 12 s, 300 pictures",
    );
    await expectGoodLooks(page, "jobs");
    await page.setViewportSize({ width: 1280, height: 800 });
    await page.getByLabel("Show").selectOption({ label: "Failed" });
    await page.getByTestId("past-event").filter({ hasText: "no pictures" }).waitFor();
    expect(page.url()).toContain("event=job.failed");
    await publish("processing/farm/jobs/j1", { ...job, job: "j1", status: "failed", progress: 60, error: "disk full" });
    await page.getByTestId("past-event").filter({ hasText: "disk full" }).waitFor();
  });
});

describe("the place Events", () => {
  it("searches the archive by filters that the address keeps, and exports what it found", {
    timeout: 120_000,
  }, async () => {
    for (let count = 0; count < 120; count++)
      await device.publishAsync(
        "skylapse/v1/cameras/west/events/lens.frozen",
        JSON.stringify({ error: `frost ${count}` }),
        {
          qos: 1,
        },
      );
    await openAs("vera", "/events");
    await page.getByRole("tab", { name: "Search" }).click();
    await page.getByTestId("past-event").first().waitFor();
    expect(page.url()).toContain("#/events/search");
    await page.getByLabel("Words").fill("frost 7");
    await page.keyboard.press("Enter");
    await expect.poll(() => page.getByTestId("past-event").count()).toBe(1);
    expect(await page.getByTestId("past-event").textContent()).toContain("frost 7");
    await page.getByLabel("Words").fill("frost");
    await page.keyboard.press("Enter");
    await expect.poll(() => page.getByTestId("past-event").count()).toBe(100);
    await button("Show more").click();
    await expect.poll(() => page.getByTestId("past-event").count()).toBe(120);
    await expectGoodLooks(page, "events");
    await page.setViewportSize({ width: 1280, height: 800 });

    await page.reload();
    expect(await page.getByLabel("Words").inputValue()).toBe("frost");
    await expect.poll(() => page.getByTestId("past-event").count()).toBe(100);
    const [download] = await Promise.all([page.waitForEvent("download"), button("Export CSV").click()]);
    expect(download.suggestedFilename()).toBe("events.csv");
    const stream = await download.createReadStream();
    let text = "";
    for await (const chunk of stream) text += chunk;
    expect(text.trim().split("\n")).toHaveLength(121);

    await page.getByLabel("Words").fill("!!!");
    await page.keyboard.press("Enter");
    await page.getByRole("alert").filter({ hasText: "words" }).waitFor();
    await button("Clear the filters").click();
    await expect.poll(() => page.url()).toMatch(/#\/events\/search$/);
    await page.getByLabel("From").fill("2020-01-01T00:00");
    await page.getByLabel("Until").fill("2020-01-02T00:00");
    await page.getByText("The archive has no such events.").waitFor();
    await page.goBack();
  });
});

describe("the place People and integrations", () => {
  it("adds an account, limits it to a group of cameras, ends its session, and removes it", {
    timeout: 120_000,
  }, async () => {
    await operator("POST", "/camera-groups", { id: "alps", name: "Alps", cameras: ["north"] });
    await openAs("ada", "/people");
    await record("account", "vera").waitFor();
    // Nobody locks out themselves.
    const own = record("account", "ada").getByRole("button", { name: "Remove: ada" });
    expect([await own.isDisabled(), await own.getAttribute("title")]).toEqual([true, "This is your own account."]);
    await button("Add an account").click();
    await dialog().getByLabel("User").fill("carol");
    await dialog().getByLabel("Password").fill(PASSWORD);
    await dialog().getByLabel("May").selectOption({ label: "See everything and control cameras (operator)" });
    await dialog().getByLabel("Alps").check();
    await dialog().getByRole("button", { name: "Add an account" }).click();
    await record("account", "carol").getByText("Only Alps").waitFor();
    await expectGoodLooks(page, "people");
    await page.setViewportSize({ width: 1280, height: 800 });

    const login = { user_id: "carol", password: PASSWORD };
    const { token } = (await operator("POST", "/auth/login", login)) as { token: string };
    const alive = async () =>
      (await fetch(`${skylapse.http}/auth/me`, { headers: { authorization: `Bearer ${token}` } })).status;
    expect(await alive()).toBe(200);
    await button("Sessions: carol").click();
    await dialog().getByTestId("session").waitFor();
    await dialog().getByRole("button", { name: "End", exact: true }).click();
    await dialog().getByRole("button", { name: "End it now" }).click();
    await dialog().getByText("The user is not signed in anywhere.").waitFor();
    expect(await alive()).toBe(401);
    await page.keyboard.press("Escape");

    await button("Change: carol").click();
    await dialog().getByLabel("May").selectOption({ label: "Do everything (admin)" });
    expect(await dialog().getByLabel("Alps").isDisabled()).toBe(true);
    await dialog().getByRole("button", { name: "Save" }).click();
    await record("account", "carol").getByText("Admin").waitFor();
    await button("Remove: carol").click();
    await dialog().getByText("This cannot be undone.").waitFor();
    await dialog().getByRole("button", { name: "Remove", exact: true }).click();
    await expect.poll(() => record("account", "carol").count()).toBe(0);
  });

  it("shows a new secret once, and says what the server refuses", { timeout: 120_000 }, async () => {
    await openAs("ada", "/people/integrations");
    await button("Add an integration").click();
    await dialog().getByLabel("Name").fill("grafana");
    await dialog().getByLabel("May").selectOption({ label: "Own list of permissions" });
    await dialog().getByLabel("Permissions").fill("dashbord:read");
    await dialog().getByRole("button", { name: "Add an integration" }).click();
    await dialog().getByRole("alert").filter({ hasText: "did you mean" }).waitFor();
    await dialog().getByLabel("Permissions").fill("dashboard:read");
    await dialog().getByRole("button", { name: "Add an integration" }).click();
    const secret = await page.getByTestId("secret").inputValue();
    const call = () => fetch(`${skylapse.http}/cameras`, { headers: { authorization: `Bearer ${secret}` } });
    expect((await call()).status).toBe(200);
    await dialog().getByRole("button", { name: "I have kept it" }).click();
    await record("integration", "grafana").waitFor();
    expect(await page.content()).not.toContain(secret);

    await button("New secret: grafana").click();
    await dialog().getByLabel("The previous secret ends").selectOption({ label: "At once" });
    await dialog().getByRole("button", { name: "New secret" }).click();
    await page.getByTestId("secret").waitFor();
    expect((await call()).status).toBe(401);
    await page.keyboard.press("Escape");

    await page.getByRole("tab", { name: "Devices" }).click();
    await record("device", "north").waitFor();
    await button("Register a device").click();
    await dialog().getByLabel("Name").fill("summit");
    await dialog().getByRole("button", { name: "Register a device" }).click();
    await page.getByTestId("secret").waitFor();
    await page.keyboard.press("Escape");
    await button("Remove: summit").click();
    await dialog().getByRole("button", { name: "Remove", exact: true }).click();
    await expect.poll(() => record("device", "summit").count()).toBe(0);

    await page.getByRole("tab", { name: "Audit log" }).click();
    await page.getByTestId("audit-line").filter({ hasText: "device.remove" }).waitFor();
    expect(await page.getByTestId("audit-line").first().textContent()).toContain("device:summit");
    await expectGoodLooks(page, "audit");
  });

  it("is not shown to a viewer", { timeout: 60_000 }, async () => {
    await openAs("vera", "/people");
    await page.getByText("Only admins may see this.").waitFor();
    expect(await page.getByRole("navigation").getByRole("link", { name: "People" }).count()).toBe(0);
  });
});

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { connectAsync } from "mqtt";
import type { BrowserContext, Page } from "playwright-core";
import sharp from "sharp";
import { ulid } from "ulid";
import { afterAll, beforeAll, expect, it } from "vitest";
import { launchBrowser, type OwnBrowser } from "../support/browser.ts";
import { type ProcessingService, startProcessingService } from "../support/processing-service.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
const SECRET = "the-secret-of-all-devices-of-this-test";
const PASSWORD = "a long enough password";
const PICTURES = 12;

const folder = makeDataPath();
let browser: OwnBrowser;
let skylapse: Skylapse;
let service: ProcessingService;
let context: BrowserContext;

async function operator(path: string, body: object): Promise<void> {
  const headers = { authorization: `Bearer ${OPERATOR_KEY}`, "content-type": "application/json" };
  const answer = await fetch(skylapse.http + path, { method: "POST", headers, body: JSON.stringify(body) });
  expect([path, answer.status]).toEqual([path, 201]);
}

beforeAll(async () => {
  [browser, skylapse] = await Promise.all([
    launchBrowser(),
    startSkylapse({ dataPath: join(folder, "server"), env: { OPERATOR_KEY, ARCHIVE: "on" } }),
  ]);
  await operator("/devices", { id: "north", secret: SECRET });
  await operator("/devices", { id: "films", kind: "processing", secret: SECRET });
  await operator("/users", { user_id: "films", password: PASSWORD, permissions: ["camera:north:read"] });
  await operator("/users", { user_id: "ada", password: PASSWORD, role: "admin" });
  const camera = await connectAsync(skylapse.mqtt, { username: "north", password: SECRET });
  const firstAt = Date.now() - 3_600_000;
  for (let number = 0; number < PICTURES; number++) {
    const background = { r: number * 20, g: 80, b: 160 };
    const jpeg = await sharp({ create: { width: 320, height: 240, channels: 3, background } })
      .jpeg()
      .toBuffer();
    const capture = ulid(firstAt + number * 60_000).toLowerCase();
    await camera.publishAsync(`skylapse/v1/cameras/north/previews/${capture}`, jpeg, { qos: 1 });
  }
  await camera.endAsync();
  service = await startProcessingService({
    ...{ SERVICE_ID: "films", SERVICE_SECRET: SECRET, MQTT_URL: skylapse.mqtt, SKYLAPSE_URL: skylapse.http },
    ...{ SKYLAPSE_USER: "films", SKYLAPSE_PASSWORD: PASSWORD, DATA_PATH: join(folder, "service") },
  });
  // A client behind a proxy must sign in, because the server assumes another machine. Only requests to the server have
  // the header of a proxy: the films come straight from the service.
  context = await browser.browser.newContext({ locale: "en-GB", acceptDownloads: true });
  context.setDefaultTimeout(40_000);
  await context.route(`${skylapse.http}/**`, (route) =>
    route.continue({ headers: { ...route.request().headers(), "x-forwarded-for": "192.0.2.7" } }),
  );
});

afterAll(async () => {
  await service?.end("SIGKILL");
  await browser.end();
  await skylapse.end("SIGKILL");
  removeDataPath(folder);
});

/** The only film that the service has made. */
function filmFile(): { name: string; bytes: Buffer } {
  const films = join(folder, "service", "films");
  const [name = ""] = readdirSync(films).filter((file) => file.endsWith(".mp4"));
  return { name, bytes: readFileSync(join(films, name)) };
}

it("makes a film of a camera's pictures, plays it to its end, and downloads it unchanged", async () => {
  const page = await context.newPage();
  await page.goto(`${skylapse.http}/#/cameras/north`);
  await page.getByLabel("User").fill("ada");
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByTestId("film-request").click();
  const job = page.locator('[data-testid="film-job"][data-status="completed"]');
  await job.waitFor();
  expect(await job.textContent()).toContain(`${PICTURES} pictures`);

  const [tab] = await Promise.all([context.waitForEvent("page"), job.getByTestId("film-link").click()]);
  await tab.waitForURL("**/films/north.1080p-*.mp4?token=*");
  expect(await played(tab)).toEqual({ width: 320, height: 240, ended: true });
  await tab.close();

  expect(await downloaded(page, job.getByTestId("film-download"))).toEqual(filmFile());
  await page.getByRole("link", { name: "Jobs" }).click();
  const past = page.getByTestId("past-event").filter({ hasText: "Timelapse finished" });
  expect(await downloaded(page, past.getByTestId("film-download"))).toEqual(filmFile());
  // The page itself is still open.
  expect(page.url()).toBe(`${skylapse.http}/#/jobs`);
});

/** Plays the video that the browser shows for the address of a film. */
function played(tab: Page) {
  return tab.locator("video").evaluate(async (element) => {
    const video = element as HTMLVideoElement;
    const ended = new Promise((resolve, reject) => {
      video.addEventListener("ended", resolve);
      video.addEventListener("error", () => reject(new Error(video.error?.message)));
    });
    video.muted = true;
    if (!video.ended) {
      await video.play();
      await ended;
    }
    return { width: video.videoWidth, height: video.videoHeight, ended: video.ended };
  });
}

async function downloaded(page: Page, link: { click(): Promise<void> }): Promise<{ name: string; bytes: Buffer }> {
  const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
  const file = join(folder, "downloaded.mp4");
  await download.saveAs(file);
  return { name: download.suggestedFilename(), bytes: readFileSync(file) };
}

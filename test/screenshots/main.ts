import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { connectAsync } from "mqtt";
import type { Page } from "playwright-core";
import { launchBrowser, type OwnBrowser } from "../support/browser.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { sendPastPictures } from "../support/past-pictures.ts";
import { sendPastReadings } from "../support/past-readings.ts";
import { removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

// Writes the pictures of the README to docs/screenshots: `npm run screenshots`.

/** This program runs from the build. */
const DIST = fileURLToPath(new URL("../../", import.meta.url));
const FOLDER = fileURLToPath(new URL("../../../docs/screenshots/", import.meta.url));
const TOKEN = signToken("screenshots", ["admin"], 3600);
const LOCATION = { lat: 46.02, lon: 7.75, timezone: "Europe/Zurich" };
const USER = "ada";
const PASSWORD = "password of the screenshots";
const HOUR_MS = 3_600_000;

interface Camera {
  id: string;
  name: string;
  /** The age of the newest picture, hours. */
  silentFor?: number;
  /** A presence that the camera does not have by itself. */
  presence?: object;
  alert?: object;
}
const ago = (hours: number) => new Date(Date.now() - hours * HOUR_MS).toISOString();
const CAMERAS: readonly Camera[] = [
  { id: "glacier", name: "Glacier tongue" },
  { id: "hut", name: "Ridge hut", presence: { status: "offline", since: ago(3.2) }, silentFor: 3 },
  { id: "lake", name: "Upper lake", presence: { status: "sleeping", since: ago(6), until: ago(-5) }, silentFor: 6 },
  { id: "moraine", name: "North moraine" },
  {
    ...{ id: "pass", name: "Old pass" },
    alert: { alert: "storage", severity: "warning", message: "The storage is 92 % full" },
  },
  { id: "summit", name: "Summit cross" },
];

/** Makes the camera and a day of its pictures and readings. */
async function addCamera(skylapse: Skylapse, { id, name, silentFor = 0, presence, alert }: Camera): Promise<void> {
  const password = signToken(id, [`device:${id}`], 3600);
  const client = await connectAsync(skylapse.mqtt, { username: id, password, clientId: id });
  const publish = (topic: string, data: object) =>
    client.publishAsync(`skylapse/v1/cameras/${id}/${topic}`, JSON.stringify(data), { qos: 1, retain: true });
  await publish("about", { model: "IMX519", firmware: "1.4", name, location: LOCATION, capture_interval_s: 1800 });
  await publish("link", { status: "online", session: "s1" });
  await sendPastReadings(publish);
  await sendPastPictures({
    ...{ broker: skylapse.mqtt, token: password, camera: id, location: LOCATION, hours: 30, everyMinutes: 60 },
    ...{ width: 480, until: silentFor, without: { from: 20, to: 17 } },
  });
  if (alert !== undefined) await publish("alerts/storage", alert);
  if (presence !== undefined) {
    const gateway = await connectAsync(skylapse.mqtt, { username: "gateway", password: TOKEN });
    const topic = `skylapse/v1/cameras/${id}/state/presence`;
    await gateway.publishAsync(topic, JSON.stringify(presence), { qos: 1, retain: true });
    await gateway.endAsync();
  }
}

interface Shot {
  name: string;
  /** Below `#/`. */
  place: string;
  scheme: "light" | "dark";
  size: { width: number; height: number };
  ready: (page: Page) => Promise<unknown>;
}
const DESKTOP = { width: 1280, height: 860 };
const PHONE = { width: 390, height: 844 };
/** Resolves when some pictures have been loaded. */
const picturesShown = (count: number) => (page: Page) =>
  page.waitForFunction(
    (least) =>
      [...document.images].filter(({ complete, naturalWidth }) => complete && naturalWidth > 64).length >= least,
    count,
  );
const SHOTS: readonly Shot[] = [
  { name: "fleet", place: "", scheme: "light", size: DESKTOP, ready: picturesShown(6) },
  { name: "fleet-phone", place: "", scheme: "dark", size: PHONE, ready: picturesShown(5) },
  { name: "camera", place: "cameras/glacier", scheme: "dark", size: DESKTOP, ready: picturesShown(1) },
  {
    ...({ name: "charts", place: "cameras/glacier/charts", scheme: "light", size: DESKTOP } as const),
    ready: (page) => page.locator(".u-over").first().waitFor(),
  },
];

async function addAdmin(url: string): Promise<void> {
  const headers = { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" };
  const body = JSON.stringify({ user_id: USER, password: PASSWORD, role: "admin" });
  const answer = await fetch(`${url}/users`, { method: "POST", headers, body });
  if (!answer.ok) throw new Error(`no account for the page: ${answer.status}`);
}

async function take({ browser }: OwnBrowser, url: string, shot: Shot): Promise<void> {
  const context = await browser.newContext({
    ...{ viewport: shot.size, colorScheme: shot.scheme, reducedMotion: "reduce", locale: "en-GB" },
  });
  const page = await context.newPage();
  await page.goto(`${url}/#/${shot.place}`);
  await page.getByLabel("User").fill(USER);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.keyboard.press("Enter");
  await page.locator('.app[data-live="true"]').waitFor();
  await shot.ready(page);
  await page.waitForLoadState("networkidle");
  await page.screenshot({ path: `${FOLDER}${shot.name}.png` });
  await context.close();
}

mkdirSync(FOLDER, { recursive: true });
const env = { JWT_SECRET, SIMULATOR: "0", ARCHIVE: "on", PRESENCE_GRACE_MS: "86400000", MAX_REQUESTS_PER_MINUTE: "0" };
const skylapse = await startSkylapse({ env, dist: DIST });
const browser = await launchBrowser();
try {
  await addAdmin(skylapse.http);
  for (const camera of CAMERAS) await addCamera(skylapse, camera);
  for (const shot of SHOTS) await take(browser, skylapse.http, shot);
} finally {
  await browser.end();
  await skylapse.end("SIGKILL");
  removeDataPath(skylapse.dataPath);
}

import { connectAsync, type MqttClient } from "mqtt";
import type { Browser, Page } from "playwright-core";
import { launchBrowser } from "../../support/browser.ts";
import { announceCamera } from "../../support/fleet-stream.ts";
import { removeDataPath, type Skylapse, startSkylapse } from "../../support/skylapse.ts";
import type { Sample } from "../row.ts";
import { whenInterrupted } from "./leftovers.ts";
import { DIST } from "./skylapse.ts";
import { JWT_SECRET, signToken } from "./tokens.ts";

const OPERATOR_KEY = "operator-key-of-the-benchmarks";
const PASSWORD = "a long enough password";

/** Runs the work with the whole program of `dist`, without limits of clients, and with Chromium. */
export async function withBrowser(
  env: Record<string, string>,
  work: (skylapse: Skylapse, browser: Browser) => Promise<Sample>,
): Promise<Sample> {
  const limits = { MAX_MQTT_MESSAGES_PER_SECOND: "0", MAX_MQTT_BYTES_PER_SECOND: "0", MAX_REQUESTS_PER_MINUTE: "0" };
  const skylapse = await startSkylapse({
    dist: DIST,
    env: { JWT_SECRET, OPERATOR_KEY, ...limits, ...env },
  });
  const killed = whenInterrupted(() => {
    skylapse.process.kill("SIGKILL");
    removeDataPath(skylapse.dataPath);
  });
  const { browser, end } = await launchBrowser();
  const ended = whenInterrupted(() => void end());
  try {
    return await work(skylapse, browser);
  } finally {
    ended();
    killed();
    await end();
    await skylapse.end();
    removeDataPath(skylapse.dataPath);
  }
}

/** The page with cameras that are all online. */
export interface FleetPage {
  page: Page;
  /** Publishes for all cameras. */
  gateway: MqttClient;
}

/** @param viewport the size of the window */
export function onFleetPage(
  cameras: number,
  viewport: { width: number; height: number },
  work: (fleet: FleetPage) => Promise<Sample>,
): Promise<Sample> {
  return withBrowser({ PRESENCE_GRACE_MS: "3600000" }, async (skylapse, browser) => {
    await addAccount(skylapse);
    const gateway = await connectAsync(skylapse.mqtt, {
      username: "gateway",
      password: signToken("gateway", ["admin"]),
    });
    try {
      await Promise.all(Array.from({ length: cameras }, (_, index) => announceCamera(gateway, index)));
      const page = await browser.newPage({ locale: "en-GB", reducedMotion: "reduce", viewport });
      await page.goto(skylapse.http);
      await page.getByLabel("User").fill("ada");
      await page.getByLabel("Password").fill(PASSWORD);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.locator('.app[data-live="true"]').waitFor();
      await page.getByRole("button", { name: `All ${cameras}` }).waitFor();
      // The installation for use without a connection would be measured, too.
      await page.evaluate(async () => void (await navigator.serviceWorker.ready));
      return await work({ page, gateway });
    } finally {
      await gateway.endAsync(true);
    }
  });
}

async function addAccount(skylapse: Skylapse): Promise<void> {
  const answer = await fetch(`${skylapse.http}/users`, {
    method: "POST",
    headers: { authorization: `Bearer ${OPERATOR_KEY}`, "content-type": "application/json" },
    body: JSON.stringify({ user_id: "ada", password: PASSWORD, role: "admin" }),
  });
  if (!answer.ok) throw new Error(`the account was not added: HTTP ${answer.status}`);
}

import { afterAll, beforeAll, expect, it } from "vitest";
import { launchBrowser, type OwnBrowser } from "../support/browser.ts";
import { JWT_SECRET } from "../support/dashboard.ts";
import { MOUNTAIN_LINK, measureFirstLoad } from "../support/first-load.ts";
import { removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

/** More than today, less than one more script. */
const MAX_SCRIPT_BYTES = 102_000;
const MAX_BYTES = 122_000;

let browser: OwnBrowser;
let skylapse: Skylapse;

beforeAll(async () => {
  [browser, skylapse] = await Promise.all([
    launchBrowser(),
    startSkylapse({ env: { JWT_SECRET, OPERATOR_KEY: "operator-key-of-the-tests", SIMULATOR: "2" } }),
  ]);
});

afterAll(async () => {
  await browser.end();
  await skylapse.end("SIGKILL");
  removeDataPath(skylapse.dataPath);
});

it("loads only what the first camera needs before it is shown", { timeout: 180_000 }, async () => {
  const port = Number(new URL(skylapse.http).port);
  const { firstCardMs, requests, ...bytes } = await measureFirstLoad(browser.browser, port, MOUNTAIN_LINK);
  const sum = bytes.scriptBytes + bytes.styleBytes + bytes.restBytes;
  console.info(
    `first load at ${MOUNTAIN_LINK.bytesPerS / 1024} KiB/s and ${MOUNTAIN_LINK.roundTripMs} ms: the first camera after ` +
      `${(firstCardMs / 1000).toFixed(1)} s, ${sum} bytes, of them ${bytes.scriptBytes} of scripts and ${bytes.styleBytes} of styles`,
  );
  // No other place, no picture, and nothing for a start without a connection.
  expect(requests.map((line) => line.replace(/-[\w-]{8}\./, ".")).sort()).toEqual([
    "GET /",
    "GET /assets/index.css",
    "GET /assets/main.js",
    "GET /assets/rolldown-runtime.js",
    "GET /assets/start.js",
    "GET /ws",
    "POST /auth/token",
  ]);
  expect(bytes.scriptBytes).toBeLessThan(MAX_SCRIPT_BYTES);
  expect(sum).toBeLessThan(MAX_BYTES);
});

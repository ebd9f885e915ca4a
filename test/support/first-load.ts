import type { Browser, CDPSession, Page } from "playwright-core";
import { type Capacity, SlowLink } from "./slow-link.ts";

/** A link in the mountains. */
export const MOUNTAIN_LINK: Capacity = { bytesPerS: 6 * 1024, roundTripMs: 300 };

/** What a browser without a cache does until it shows the first camera. */
export interface FirstLoad {
  firstCardMs: number;
  /** Bytes of the responses with their headers, compressed as they were sent. */
  scriptBytes: number;
  styleBytes: number;
  /** All other bytes, also of the WebSocket. */
  restBytes: number;
  /** The requests that were sent before, such as `GET /assets/index.js`. */
  requests: string[];
}

/** Opens the page on a slow link in a new context of the browser. @param serverPort of the page, on 127.0.0.1 */
export async function measureFirstLoad(browser: Browser, serverPort: number, capacity: Capacity): Promise<FirstLoad> {
  const link = await SlowLink.open(serverPort, capacity);
  const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1280, height: 800 } });
  try {
    const page = await context.newPage();
    const sizes = await countSizes(page);
    await page.addInitScript(noteFirstCard);
    const beginAt = Date.now();
    await page.goto(`http://127.0.0.1:${link.port}/`, { timeout: 0, waitUntil: "commit" });
    const shown = await page.waitForFunction(() => Reflect.get(globalThis, "firstCardAt"), undefined, { timeout: 0 });
    const shownAt = Number(await shown.jsonValue());
    const { Script: scriptBytes = 0, Stylesheet: styleBytes = 0 } = sizes;
    return {
      firstCardMs: shownAt - beginAt,
      ...{ scriptBytes, styleBytes, restBytes: link.bytesUntil(shownAt) - scriptBytes - styleBytes },
      requests: link.requests.filter(({ at }) => at <= shownAt).map(({ line }) => line),
    };
  } finally {
    await context.close();
    await link.close();
  }
}

/** Runs in the page. */
function noteFirstCard(): void {
  const observer = new MutationObserver(() => {
    if (document.querySelector("[data-testid^=camera-card-]") === null) return;
    observer.disconnect();
    Object.assign(globalThis, { firstCardAt: performance.timeOrigin + performance.now() });
  });
  observer.observe(document, { childList: true, subtree: true });
}

/** The bytes of complete responses by their type, which grow from now on. */
async function countSizes(page: Page): Promise<Partial<Record<string, number>>> {
  const sizes: Partial<Record<string, number>> = {};
  const types = new Map<string, string>();
  const debug: CDPSession = await page.context().newCDPSession(page);
  debug.on("Network.responseReceived", ({ requestId, type }) => types.set(requestId, type));
  debug.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
    const type = types.get(requestId) ?? "Other";
    sizes[type] = (sizes[type] ?? 0) + encodedDataLength;
  });
  await debug.send("Network.enable");
  return sizes;
}

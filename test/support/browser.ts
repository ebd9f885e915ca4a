import { type Browser, chromium } from "playwright-core";
import { CHROMIUM } from "./programs.ts";

export interface OwnBrowser {
  browser: Browser;
  /** Ends its processes, whatever they are at. */
  end(): Promise<void>;
}

/** A headless Chromium that asks nobody outside of this machine for anything. */
export async function launchBrowser(...more: string[]): Promise<OwnBrowser> {
  const server = await chromium.launchServer({
    host: "127.0.0.1",
    executablePath: CHROMIUM,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      ...more,
    ],
  });
  const browser = await chromium.connect(server.wsEndpoint());
  return { browser, end: () => server.kill() };
}

/**
 * Closes a page or a context without waiting for it: once in a dozen times Chromium 156 never says that it has closed
 * the pages of a context in which somebody signed in and out. What is left of it ends with the browser.
 */
export function letClose(closing: { close(): Promise<void> } | undefined): void {
  closing?.close().catch(() => {});
}

import { type Browser, chromium } from "playwright-core";
import { CHROMIUM } from "./programs.ts";

export interface OwnBrowser {
  browser: Browser;
  /** Kills all processes of the browser. */
  end(): Promise<void>;
}

/** A headless Chromium without requests to other machines. */
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
 * Closes a page or context without waiting. After a sign-in and a sign-out, about one in twelve times, Chromium 156
 * never reports that the pages of a context are closed. Pages that remain open end with the browser.
 */
export function letClose(closing: { close(): Promise<void> } | undefined): void {
  closing?.close().catch(() => {});
}

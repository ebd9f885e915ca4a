import type { Browser, Page } from "playwright-core";

/** What the page has said of a camera's presence, each change with its moment. */
export interface CameraPage {
  page: Page;
  /** `online`, `offline`, … as they were shown; at: milliseconds since 1970. */
  shown: { status: string; at: number }[];
}

const SHOWN = "camera status shown";

/** Opens the dashboard page and keeps every state of the camera that it ever shows, from `online` on. */
export async function watchCameraPage(browser: Browser, url: string, camera: string): Promise<CameraPage> {
  const page = await browser.newPage();
  page.setDefaultTimeout(30_000);
  const shown: CameraPage["shown"] = [];
  page.on("console", (message) => {
    const [, status, at] = message.text().split("|");
    if (message.text().startsWith(SHOWN)) shown.push({ status: status ?? "", at: Number(at) });
  });
  await page.goto(url);
  await page.locator(`[data-testid="camera-status-${camera}"][data-status="online"]`).waitFor();
  await page.evaluate(
    ([testId, shownText]) => {
      let last: string | null | undefined;
      const look = () => {
        const status = document.querySelector(`[data-testid="${testId}"]`)?.getAttribute("data-status");
        if (status !== last) console.info([shownText, status, Date.now()].join("|"));
        last = status;
      };
      look();
      new MutationObserver(look).observe(document.body, {
        ...{ subtree: true, childList: true },
        attributeFilter: ["data-status"],
      });
    },
    [`camera-status-${camera}`, SHOWN] as const,
  );
  return { page, shown };
}

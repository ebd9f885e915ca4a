import type { Browser, Page } from "playwright-core";
import { signToken } from "./dashboard.ts";

/** The displayed statuses of a camera, with the time of each change. */
export interface CameraPage {
  page: Page;
  /** `at`: milliseconds since 1970. */
  shown: { status: string; at: number }[];
}

const SHOWN = "camera status shown";

const USER = "page-watcher";
const PASSWORD = "password of the page watcher";

/** Opens the dashboard page, signs in, and records every status of the camera from `online` on. */
export async function watchCameraPage(browser: Browser, url: string, camera: string): Promise<CameraPage> {
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  const shown: CameraPage["shown"] = [];
  page.on("console", (message) => {
    const [, status, at] = message.text().split("|");
    if (message.text().startsWith(SHOWN)) shown.push({ status: status ?? "", at: Number(at) });
  });
  const headers = { authorization: `Bearer ${signToken("operator", ["admin"])}`, "content-type": "application/json" };
  const body = JSON.stringify({ user_id: USER, password: PASSWORD, role: "viewer" });
  const made = await fetch(`${url}/users`, { method: "POST", headers, body });
  if (!made.ok) throw new Error(`no account for the page: ${made.status} ${await made.text()}`);
  await page.goto(url);
  await page.getByLabel("User").fill(USER);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
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

import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { expect } from "vitest";
import { LONG } from "./long-form.ts";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SCREENSHOTS = fileURLToPath(new URL("../../dist/screenshots/", import.meta.url));

const PHONE = { width: 390, height: 844 };
const LAPTOP = { width: 1280, height: 800 };
const LARGE = { width: 2560, height: 1440 };

interface Look {
  scheme: "light" | "dark";
  size: { width: number; height: number };
}

/** Rendering without a graphics card takes most of the time, so only the long form renders each place six times. */
const LOOKS: readonly Look[] = LONG
  ? (["light", "dark"] as const).flatMap((scheme) => [PHONE, LAPTOP, LARGE].map((size) => ({ scheme, size })))
  : [
      { scheme: "light", size: PHONE },
      { scheme: "dark", size: LAPTOP },
      { scheme: "dark", size: LARGE },
    ];

/**
 * Checks the shown place on a phone, a laptop and a large screen, light and dark: nothing is wider than the window, axe
 * finds nothing serious, and a translator can replace all texts. The long form looks at each screen in both schemes, and
 * writes screenshots to `dist/screenshots`.
 * @param name of the screenshots, such as `alerts`: `alerts-390-light.png`
 */
export async function expectGoodLooks(page: Page, name: string): Promise<void> {
  mkdirSync(SCREENSHOTS, { recursive: true });
  expect(await textsBesideNodes(page)).toEqual([]);
  for (const { scheme, size } of LOOKS) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
    await page.locator(`html[data-theme="${scheme}"]`).waitFor();
    await page.setViewportSize(size);
    const label = `${name}-${size.width}-${scheme}`;
    if (LONG) await page.screenshot({ path: `${SCREENSHOTS}${label}.png` });
    expect([label, await widthOutside(page)]).toEqual([label, 0]);
    // The rules do not depend on the width, except for the two forms of the navigation.
    if (size !== LARGE) expect([label, await seriousFindings(page)]).toEqual([label, []]);
  }
}

/**
 * Texts that have sibling nodes. A browser's translator replaces the nodes of texts; React then fails to remove or insert a
 * sibling.
 */
export function textsBesideNodes(page: Page): Promise<string[]> {
  return page.evaluate(() =>
    [...document.body.querySelectorAll("*")]
      .filter((element) => element.childNodes.length > 1)
      .flatMap((element) => [...element.childNodes])
      .filter((node) => node instanceof Text && node.data.trim() !== "")
      .map((text) => `${text.parentElement?.className}: ${text.textContent}`),
  );
}

/** How far the page can be scrolled sideways, in pixels. */
function widthOutside(page: Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

interface AxeResults {
  violations: { id: string; impact?: string | null; nodes: { html: string; failureSummary?: string }[] }[];
}

/** The rules of axe-core that the page breaks, of the impacts serious and critical. */
export async function seriousFindings(page: Page): Promise<string[]> {
  // The content security policy of the page forbids scripts in the page, but not those of the debugger.
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(AXE);
  const results = (await page.evaluate(
    `axe.run({ resultTypes: ["violations"], iframes: false, preload: false })`,
  )) as AxeResults;
  return results.violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(
      ({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("\n")}`,
    );
}

import { existsSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { describe, expect, it } from "vitest";
import { anchorsOf, pagePaths, ROOT, readPage, relativeLinks } from "./pages.ts";

const pages = pagePaths();

/** Returns the problem of a broken link. */
function problemOf(page: string, target: string): string | undefined {
  const [path = "", anchor] = target.split("#");
  const file = path === "" ? page : normalize(join(dirname(page), path));
  if (!existsSync(join(ROOT, file))) return `${target}: there is no ${file}`;
  if (anchor === undefined || !file.endsWith(".md")) return undefined;
  return anchorsOf(readPage(file)).has(anchor) ? undefined : `${target}: ${file} has no heading for this anchor`;
}

describe("the Markdown pages", () => {
  it("include the README, the architecture page and the other main pages", () => {
    const first = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "docs/architecture.md"];
    expect(pages).toEqual(expect.arrayContaining(first));
  });

  it.each(pages)("%s has no broken link", (page) => {
    const problems = relativeLinks(readPage(page)).flatMap(({ target }) => problemOf(page, target) ?? []);
    expect(problems).toEqual([]);
  });

  it("are each linked from another page", () => {
    const linked = new Set(
      pages.flatMap((page) =>
        relativeLinks(readPage(page)).map(({ target }) => normalize(join(dirname(page), target.split("#")[0] ?? ""))),
      ),
    );
    expect(pages.filter((page) => page !== "README.md" && !linked.has(page))).toEqual([]);
  });
});

describe("README.md", () => {
  it("has at most 8 KiB", () => {
    expect(statSync(join(ROOT, "README.md")).size).toBeLessThanOrEqual(8 * 1024);
  });
});

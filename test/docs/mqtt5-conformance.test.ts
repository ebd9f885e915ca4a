import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { citations, conformancePage, STATEMENTS } from "./mqtt5-page.ts";
import { ROOT, readPage } from "./pages.ts";

const PAGE = "docs/mqtt5-conformance.md";

if (process.env.UPDATE_DOCS) writeFileSync(join(ROOT, PAGE), conformancePage());

describe(PAGE, () => {
  it("agrees with the statements and the titles of the tests", () => {
    expect(readPage(PAGE), `${PAGE} is out of date: run npm run docs`).toBe(conformancePage());
  });

  it("answers every statement with a test or a reason, and not with both", () => {
    const cited = citations();
    expect(STATEMENTS.filter(({ number, reason }) => cited.has(number) === (reason !== ""))).toEqual([]);
  });

  it("knows every statement that a test cites", () => {
    const known = new Set(STATEMENTS.map(({ number }) => number));
    expect([...citations().keys()].filter((number) => !known.has(number))).toEqual([]);
  });
});

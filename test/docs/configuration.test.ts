import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { BRIDGE_VARIABLES } from "../../bridge/config.ts";
import { BROKER_VARIABLES } from "../../broker/config.ts";
import { variablesOf } from "../../platform/config.ts";
import { configurationPage, SERVER_PARTS } from "./configuration-page.ts";
import { ROOT, readPage } from "./pages.ts";

const PAGE = "docs/configuration.md";

if (process.env.UPDATE_DOCS) writeFileSync(join(ROOT, PAGE), configurationPage());

describe(PAGE, () => {
  it("agrees with the schemas of the settings", () => {
    expect(readPage(PAGE), `${PAGE} is out of date: run npm run docs`).toBe(configurationPage());
  });

  it("lists every variable of the server once", () => {
    const documented = SERVER_PARTS.flatMap(({ settings }) => variablesOf(settings));
    const read = [...BRIDGE_VARIABLES, ...BROKER_VARIABLES].filter((name) => !/^(?:SKYLAPSE|REALTIME)_JWT/.test(name));
    expect(new Set(documented).size).toBe(documented.length);
    expect(read.filter((name) => !documented.includes(name))).toEqual([]);
  });

  it("agrees with docs/operations.md, which says for each limit whether it counts at one node or at all", () => {
    const [, section = ""] = readPage("docs/operations.md").split("### Limits with several nodes");
    const [table = ""] = section.split("\n### ", 1);
    const listed = table.split("\n").flatMap((row) => row.split("|")[1]?.match(/MAX_\w+/g) ?? []);
    const limits = SERVER_PARTS.flatMap(({ settings }) => variablesOf(settings)).filter((name) => /^MAX_/.test(name));
    expect(listed.toSorted(), "a row of the table is missing").toEqual(limits.toSorted());
  });
});

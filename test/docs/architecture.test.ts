import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join, normalize } from "node:path";
import { describe, expect, it } from "vitest";
import { PARTS, sourceFiles } from "../house/source-files.ts";
import { ROOT, readPage, relativeLinks, sectionOf, tableRows } from "./pages.ts";

const PAGE = "docs/architecture.md";
if (process.env.UPDATE_DOCS) writeFileSync(join(ROOT, PAGE), withTrueImports(readPage(PAGE)));
const page = readPage(PAGE);
const MAX_EVENT_FILES = 8;

/** Links whose text is the name of a file, or a name that the file declares. */
const named = relativeLinks(page)
  .filter(({ text, target }) => /^`[^`]+`$/.test(text) && !target.includes("#"))
  .map(({ text, target }) => ({ name: text.replaceAll("`", ""), file: normalize(join(dirname(PAGE), target)) }));

function isDeclaredIn(name: string, file: string): boolean {
  const declaration = new RegExp(`\\b(?:function|class|interface|type|const)\\s+${name}\\b`);
  return declaration.test(readFileSync(join(ROOT, file), "utf8"));
}

it("names files and code that exist", () => {
  expect(named.length).toBeGreaterThan(100);
  const wrong = named.filter(({ name, file }) => {
    if (!existsSync(join(ROOT, file))) return true;
    if (name.endsWith("/")) return !`${file}/`.includes(name);
    return name !== basename(file) && !isDeclaredIn(name, file);
  });
  expect(wrong).toEqual([]);
});

describe("the walk of an event", () => {
  it(`passes at most ${MAX_EVENT_FILES} files, and begins at the broker's ingest gate`, () => {
    const steps = sectionOf(page, "### An event, from the broker to the socket").matchAll(
      /^\d+\. \[`[^`]+`\]\(([^)]+)\)/gm,
    );
    const files = new Set([...steps].map(([, target = ""]) => normalize(join(dirname(PAGE), target))));
    expect([...files][0]).toBe("broker/ingest-gate.ts");
    expect(files.size).toBeGreaterThan(4);
    expect(files.size).toBeLessThanOrEqual(MAX_EVENT_FILES);
  });
});

interface Room {
  room: string;
  imports: string[];
}

/** The folders of a part, each with the imported folders of the same part. */
function roomsOf(part: string): Room[] {
  return readdirSync(join(ROOT, part))
    .filter((name) => statSync(join(ROOT, part, name)).isDirectory())
    .map((name) => ({ room: `${part}/${name}/`, imports: importsOf(part, name) }));
}

function importsOf(part: string, room: string): string[] {
  const imported = new Set<string>();
  for (const target of sourceFiles(`${part}/${room}`).flatMap(({ imports }) => imports)) {
    const [otherPart, other = "", ...rest] = target.split("/");
    if (otherPart === part && other !== room) imported.add(rest.length === 0 ? "files beside the rooms" : other);
  }
  return [...imported].sort();
}

/** The page with a column "imports" that is computed from the code. */
function withTrueImports(text: string): string {
  return text.replaceAll(/^(\| `([\w-]+)\/([\w-]+)\/` +\|[^|]*\|)[^|]*\|$/gm, (row, begin, part, room) => {
    if (!existsSync(join(ROOT, part, room))) return row;
    const names = importsOf(part, room).map((name) => (name.includes(" ") ? name : `\`${name}\``));
    return `${begin} ${names.join(", ")} |`;
  });
}

describe("the rooms", () => {
  it.each(PARTS)("of %s are all on the page, with their imports", (part) => {
    const documented = tableRows(sectionOf(page, `### ${part}`)).map(([room = "", , imports = ""]) => ({
      room: room.replaceAll("`", ""),
      imports: imports
        .replaceAll("`", "")
        .split(", ")
        .filter((name) => name !== "")
        .sort(),
    }));
    const byName = (one: Room, other: Room) => (one.room < other.room ? -1 : 1);
    expect(documented.sort(byName)).toEqual(roomsOf(part).sort(byName));
  });
});

it("lists every part, and nothing else", () => {
  const parts = tableRows(sectionOf(page, "## The parts")).map(([part = ""]) => part.replaceAll(/[`/]/g, ""));
  expect(parts.sort()).toEqual([...PARTS, "test"].sort());
});

it("names the code and the test of each invariant", () => {
  const rows = tableRows(sectionOf(page, "## Invariants"));
  expect(rows.length).toBeGreaterThan(15);
  const incomplete = rows.filter(
    ([, enforced = "", tested = ""]) => !enforced.includes("](") || !/\]\(\.\.\/test\//.test(tested),
  );
  expect(incomplete).toEqual([]);
});

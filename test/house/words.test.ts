import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { projectFiles, ROOT } from "./source-files.ts";

/** Private or hard words, each with a better word. */
const BANNED: readonly [word: string, instead: string][] = [
  ["errands?", "task"],
  ["shel(?:f|ves)", "index"],
  ["lanes", "priorities"],
  ["in trouble|troubles", "failure, or the reason why it is unavailable"],
  ["dut(?:y|ies)", "singleton"],
  ["whom(?:ever)?", "the name of the client, user or camera"],
  ["whoever", "the name of the client, user or camera"],
  ["lest", "so that … not"],
  ["thereby", "a sentence of its own"],
  ["hence", "so"],
  ["anew", "again"],
  ["for so long", "for this long"],
  ["(?:is|are|was|were) to be", "must be, or the verb itself"],
];

/** CONTRIBUTING.md lists the words. */
const EXEMPT: ReadonlySet<string> = new Set(["CONTRIBUTING.md", "test/house/words.test.ts"]);

const texts = projectFiles()
  .filter((path) => /\.(?:tsx?|md|css|html|lua)$/.test(path) && !EXEMPT.has(path))
  .map((path) => ({ path, lines: readFileSync(join(ROOT, path), "utf8").split("\n") }));

describe("every file", () => {
  it.each(BANNED)("avoids /%s/ (write: %s)", (word) => {
    const banned = new RegExp(`\\b(?:${word})\\b`, "i");
    const found = texts.flatMap(({ path, lines }) =>
      lines.flatMap((line, index) => (banned.test(line) ? [`${path}:${index + 1} ${line.trim()}`] : [])),
    );
    expect(found).toEqual([]);
  });
});

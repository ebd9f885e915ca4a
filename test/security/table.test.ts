import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const here = new URL(".", import.meta.url);
const rows = readFileSync(new URL("README.md", here), "utf8")
  .split("\n")
  .filter((line) => line.startsWith("|") && !/^\| (attack|-)/.test(line));
const linked = (row: string) => [...row.matchAll(/\]\(([^)]+)\)/g)].map(([, path = ""]) => path);

it("the table of attacks names a refusal and existing tests for every attack", () => {
  expect(rows.length).toBeGreaterThan(60);
  for (const row of rows) {
    const [, attack = "", refusal = ""] = row.split("|");
    expect([attack.trim(), refusal.trim()], row).not.toContain("");
    expect(linked(row), row).not.toEqual([]);
    for (const path of linked(row)) expect(existsSync(new URL(path, here)), path).toBe(true);
  }
});

it("the table of attacks lists every test of this folder", () => {
  const files = readdirSync(fileURLToPath(here)).filter((name) => /\.test\.ts$/.test(name) && name !== "table.test.ts");
  expect([...new Set(rows.flatMap(linked))]).toEqual(expect.arrayContaining(files));
});

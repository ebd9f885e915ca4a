import { expect, it } from "vitest";
import { readPage, tableRows } from "./pages.ts";

const { dependencies, devDependencies } = JSON.parse(readPage("package.json"));

it("docs/decisions/dependencies.md explains every package, and names no other package", () => {
  const rows = tableRows(readPage("docs/decisions/dependencies.md"));
  expect(rows.filter(([, why]) => why === "")).toEqual([]);
  const documented = rows.flatMap(([packages = ""]) => packages.split(", "));
  const used = [...Object.keys(dependencies), ...Object.keys(devDependencies)].filter(
    (name) => !name.startsWith("@types/"),
  );
  expect(documented.sort()).toEqual(used.sort());
});

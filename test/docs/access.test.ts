import { expect, it } from "vitest";
import { PERMISSIONS, ROLES } from "../../contract/permissions.ts";
import { readPage, sectionOf, tableRows } from "./pages.ts";

const section = sectionOf(readPage("docs/access.md"), "## Permissions");
const namesIn = (text: string) => [...text.matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name);

it("lists every permission", () => {
  const documented = tableRows(section).flatMap(([permissions = ""]) => namesIn(permissions));
  expect(documented.filter((name) => !name.includes("{")).sort()).toEqual([...PERMISSIONS].sort());
});

it.each(Object.entries(ROLES))("lists the permissions of the role %s", (role, permissions) => {
  const sentence =
    new RegExp(`The role \`${role}\` contains ([^.:]+(?::(?:read|control|write)[^.:]*)*)`).exec(section)?.[1] ?? "";
  expect(namesIn(sentence)).toEqual(permissions);
});

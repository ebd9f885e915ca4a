import { describe, expect, it } from "vitest";
import type { z } from "zod";
import { CloseCode, ReplyCode } from "../../contract/codes.ts";
import { commandStatusSchema, FINAL_COMMAND_STATUSES } from "../../contract/commands.ts";
import { clientMessageSchema, serverMessageSchema, unrecoverableReasonSchema } from "../../contract/socket-messages.ts";
import { readPage, sectionOf, tableRows } from "./pages.ts";

const page = readPage("docs/websocket.md");
const unquoted = (cell: string | undefined) => cell?.replaceAll("`", "") ?? "";

/** The fields of a schema as `[field, required]`. `data` is required, although its schema accepts undefined. */
function fieldsOf(schema: z.ZodObject): [string, string][] {
  return Object.entries(schema.shape)
    .map(([name, field]): [string, string] => {
      const mayBeLeftOut = name !== "data" && (field as z.ZodType).safeParse(undefined).success;
      return [name, mayBeLeftOut ? "no" : "yes"];
    })
    .sort();
}

const typeOf = (schema: z.ZodObject): string => {
  const [type] = (schema.shape.type as z.ZodLiteral<string>).values;
  if (type === undefined) throw new Error("the message has no type");
  return type;
};

describe.each([
  ["## Messages from the client", clientMessageSchema.options],
  ["## Messages from the server", serverMessageSchema.options],
] as const)("%s", (heading, options) => {
  const section = sectionOf(page, heading);
  const schemas = new Map<string, z.ZodObject>(options.map((schema) => [typeOf(schema), schema]));

  it("describes every message of the contract, and no other message", () => {
    const documented = [...section.matchAll(/^### `(\w+)`$/gm)].map(([, type]) => type);
    expect(documented.sort()).toEqual([...schemas.keys()].sort());
  });

  it.each([...schemas])("lists every field of %s", (type, schema) => {
    const rows = tableRows(sectionOf(section, `### \`${type}\``));
    const documented = rows
      .filter(([, required]) => required === "yes" || required === "no")
      .map(([field, required = ""]): [string, string] => [unquoted(field), required])
      .filter(([field]) => !(commandStatusSchema.options as readonly string[]).includes(field));
    expect(documented.sort()).toEqual(fieldsOf(schema));
  });
});

it.each([
  ["## Reply codes", ReplyCode],
  ["## Close codes", CloseCode],
] as const)("%s has every code of the contract, and no other", (heading, codes) => {
  const documented = tableRows(sectionOf(page, heading)).map(([code, name]) => [unquoted(name), Number(code)]);
  expect(documented).toEqual(Object.entries(codes));
});

it("lists every status of a command, and marks the final statuses", () => {
  const rows = tableRows(sectionOf(page, "### `command_result`")).filter(([first]) =>
    (commandStatusSchema.options as readonly string[]).includes(unquoted(first)),
  );
  expect(rows.map(([status, final]) => [unquoted(status), final])).toEqual(
    commandStatusSchema.options.map((status) => [status, FINAL_COMMAND_STATUSES.has(status) ? "yes" : "no"]),
  );
});

it("lists every reason for a gap", () => {
  const rows = tableRows(sectionOf(page, "## Snapshot, resume and gaps")).map(([reason]) => unquoted(reason));
  expect(rows.sort()).toEqual([...unrecoverableReasonSchema.options].sort());
});

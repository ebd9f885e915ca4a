import type { asyncApi } from "../../contract/asyncapi.ts";
import type { JsonSchema } from "../../contract/json-schema.ts";
import type { Operation, openApi } from "./openapi.ts";

const STYLE = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 0 auto; padding: 1rem }
details { border: 1px solid #8886; border-radius: .4rem; margin: .4rem 0; padding: .3rem .7rem }
summary { cursor: pointer }
code { font-family: ui-monospace, monospace; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100% }
td { border-top: 1px solid #8884; padding: .15rem .6rem .15rem 0; vertical-align: top }
`;

/**
 * A page with the content of the OpenAPI document and the AsyncAPI document. It has no script and loads nothing: see
 * the CSP in `protection.ts`.
 */
export function referencePage(http: ReturnType<typeof openApi>, events: ReturnType<typeof asyncApi>): string {
  const title = `${http.info.title} ${http.info.version}: API`;
  const operations = Object.entries(http.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ name: `${method.toUpperCase()} ${path}`, operation })),
  );
  const groups = http.tags.map(({ name }) => {
    const own = operations.filter(({ operation }) => operation.tags.includes(name));
    return `<h2>${escaped(name)}</h2>${own.map((one) => operationPart(one.name, one.operation)).join("")}`;
  });
  const channels = Object.values(events.channels).map(
    ({ address, title: name, description, messages }) =>
      `<h2>${code(address)}</h2>${prose(`${name}. ${description}`)}${Object.entries(messages).map(messagePart).join("")}`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${escaped(title)}</h1>
<p>For programs: <a href="/openapi.json">OpenAPI of the HTTP API</a>,
<a href="/asyncapi.yaml">AsyncAPI of WebSocket and MQTT</a>.</p>
${prose(http.info.description)}
${[...groups, ...channels].join("\n")}
</body>
</html>
`;
}

function operationPart(
  name: string,
  { summary, security, parameters = [], requestBody, responses }: Operation,
): string {
  const rows = parameters.map(({ name: field, in: place, required, schema }) => row(field, schema, required, place));
  const body = requestBody?.content["application/json"]?.schema;
  const answers = Object.entries(responses).map(([status, { description, content }]) => {
    const fields = Number(status) < 400 ? fieldsOf(content?.["application/json"]?.schema) : "";
    return `<h4>${status}</h4>${prose(description)}${fields}`;
  });
  const parts = [
    prose(`Needs: ${security.map(credentials).join(", or ") || "nothing"}`),
    rows.length === 0 ? "" : `<h4>Parameters</h4>${table(rows)}`,
    body === undefined ? "" : `<h4>Body</h4>${fieldsOf(body)}`,
    ...answers,
  ];
  return details(`${code(name)} ${escaped(summary)}`, parts.join(""));
}

function credentials({ token, operatorKey }: Record<string, string[]>): string {
  if (token !== undefined) return `\`${token.join(" ")}\``;
  return operatorKey === undefined ? "in trial mode nothing" : "the operator key";
}

function messagePart([name, { summary = "", payload }]: [string, { summary?: string; payload: JsonSchema }]): string {
  return details(`${code(name)} ${escaped(summary)}`, fieldsOf(payload));
}

/** Shows the fields of a schema as a table, and those of a union as one table for each member. */
function fieldsOf(schema: JsonSchema | undefined): string {
  if (schema === undefined) return "";
  const members = membersOf(schema);
  if (members.length > 0) return members.map(fieldsOf).join("<p>or</p>");
  const rows = rowsOf(schema, "");
  return rows.length === 0 ? `<p>${typeOf(schema)}</p>` : table(rows);
}

function rowsOf(schema: JsonSchema, prefix: string): string[] {
  const required = (schema.required as string[] | undefined) ?? [];
  const properties = (schema.properties as Record<string, JsonSchema> | undefined) ?? {};
  return Object.entries(properties).flatMap(([name, field]) => [
    row(prefix + name, field, required.includes(name)),
    ...rowsOf((field.items as JsonSchema | undefined) ?? field, `${prefix}${name}.`),
  ]);
}

function row(name: string, schema: JsonSchema, required: boolean, place = ""): string {
  const cells = [code(name), [place, typeOf(schema)].filter(Boolean).join(", "), required ? "required" : "optional"];
  const about = inline(typeof schema.description === "string" ? schema.description : "");
  return `<tr>${[...cells, about].map((cell) => `<td>${cell}</td>`).join("")}</tr>`;
}

function typeOf(schema: JsonSchema): string {
  const { const: only, enum: values, type, items, $ref: ref } = schema;
  const members = membersOf(schema);
  if (members.length > 0) return members.map(typeOf).join(" or ");
  if (only !== undefined) return code(JSON.stringify(only));
  if (Array.isArray(values)) return values.map((value) => code(JSON.stringify(value))).join(" or ");
  if (typeof ref === "string") return escaped(ref.split("/").at(-1) ?? "");
  if (type === "array") return `list of ${typeOf((items as JsonSchema | undefined) ?? {})}`;
  return typeof type === "string" ? escaped(type) : "any";
}

function membersOf(schema: JsonSchema): JsonSchema[] {
  return ((schema.oneOf ?? schema.anyOf) as JsonSchema[] | undefined) ?? [];
}

const table = (rows: readonly string[]) => `<table>${rows.join("")}</table>`;
const details = (head: string, content: string) => `<details><summary>${head}</summary>${content}</details>`;
const code = (text: string) => `<code>${escaped(text)}</code>`;

/** Paragraphs with code between back-quotes. */
function prose(text: string): string {
  return text
    .split("\n\n")
    .map((paragraph) => `<p>${inline(paragraph)}</p>`)
    .join("");
}

function inline(text: string): string {
  return escaped(text).replaceAll(/`([^`]+)`/g, "<code>$1</code>");
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

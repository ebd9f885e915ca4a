import asyncApiSpecs from "@asyncapi/specs";
import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv, type AnySchema } from "ajv";
import addFormats from "ajv-formats";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import type { openApi } from "../../bridge/http/openapi.ts";
import type { asyncApi } from "../../contract/asyncapi.ts";
import { CloseCode, ReplyCode } from "../../contract/codes.ts";
import { commandArgs } from "../../contract/commands.ts";
import { EVENTS } from "../../contract/events.ts";
import { clientMessageSchema, serverMessageSchema } from "../../contract/socket-messages.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../bridge/support/test-bridge.ts";
import { withRoutesOf } from "../security/routes-of.ts";
import { readPage, sectionOf, tableRows } from "./pages.ts";

let bridge: TestBridge;
let routes: string[];
let http: ReturnType<typeof openApi>;
let events: ReturnType<typeof asyncApi>;

beforeAll(async () => {
  const [started, found] = await withRoutesOf(() => startTestBridge());
  bridge = started;
  routes = [...found].filter((route) => route !== "OPTIONS *").map((route) => route.replaceAll(/:(\w+)/g, "{$1}"));
  http = (await bridge.call("/openapi.json")).body;
  events = parse((await bridge.call("/asyncapi.yaml")).text);
});
afterAll(() => bridge.stop());

/** Each operation with its route, such as `GET /users`. */
const operations = () =>
  Object.entries(http.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ route: `${method.toUpperCase()} ${path}`, operation })),
  );

const unquoted = (text = "") => text.replaceAll("`", "");

describe("GET /openapi.json", () => {
  it("is valid OpenAPI 3.1", async () => {
    const validator = new Validator();
    expect(await validator.validate(structuredClone(http))).toEqual({ valid: true });
    expect([validator.version, http.info.version]).toEqual(["3.1", "1.2.3"]);
  });

  it("describes every route of the server: write `described(…)` beside a new route", () => {
    expect(
      operations()
        .map(({ route }) => route)
        .sort(),
    ).toEqual(routes.toSorted());
  });

  it("has every field of the tables in docs/http.md", () => {
    const page = readPage("docs/http.md");
    for (const { route, operation } of operations()) {
      const rows = tableRows(sectionOf(page, `### \`${route}\``));
      const fields = rows.map(([first]) => unquoted(first)).filter((name) => /^[a-z_.]+$/.test(name));
      const text = JSON.stringify([operation.parameters, operation.requestBody, operation.responses]);
      const missing = fields.filter((field) =>
        field.split(".").some((name) => !text.includes(`"${name}":`) && !text.includes(`"name":"${name}"`)),
      );
      expect([route, missing]).toEqual([route, []]);
    }
  });

  it("has every error code of docs/http.md, with its status", () => {
    const listed = tableRows(sectionOf(readPage("docs/http.md"), "## Errors")).map(
      ([status, code]) => `${status} ${unquoted(code)}`,
    );
    const described = [
      ...operations().map(({ operation }) => operation.responses),
      { 405: http.components.responses.MethodNotAllowed },
    ]
      .flatMap((responses) => Object.entries(responses))
      .flatMap(([status, response]) => {
        const codes = /"code":\{"enum":(\[[^\]]*\])/.exec(JSON.stringify(response))?.[1];
        return (JSON.parse(codes ?? "[]") as string[]).map((code) => `${status} ${code}`);
      });
    expect([...new Set(described)].sort()).toEqual(listed.sort());
  });

  it("names the permission that docs/http.md names", () => {
    const rows = tableRows(sectionOf(readPage("docs/http.md"), "## Routes"));
    const permissionOf = new Map(rows.map(([route, permission = ""]) => [unquoted(route), permission]));
    for (const { route, operation } of operations()) {
      const inherited = /^as `(.*)`$/.exec(permissionOf.get(route) ?? "")?.[1];
      const row = permissionOf.get(inherited ?? route) ?? "";
      const documented = [...row.matchAll(/`([a-z]+(?::\S+)?)`/g)].map(([, name]) => name);
      const named = operation.security.flatMap(({ token = [] }) => token).filter((name) => name !== "admin");
      expect([route, named]).toEqual([route, documented.filter((name) => name !== "admin")]);
      expect([route, operation.security.length === 0]).toEqual([route, row.startsWith("none")]);
    }
  });
});

describe("GET /asyncapi.yaml", () => {
  it("is valid AsyncAPI 3.0", () => {
    const ajv = addFormats.default(new Ajv({ strict: false, allErrors: false }));
    const schema = asyncApiSpecs.schemasWithoutId["3.0.0"];
    const validate = ajv.compile(schema as AnySchema);
    validate(events);
    expect(validate.errors ?? []).toEqual([]);
    expect([events.asyncapi, events.info.version]).toEqual(["3.0.0", "1.2.3"]);
  });

  it("has every message and every field of the WebSocket", () => {
    const { messages } = events.channels.websocket;
    const expected = [
      ...clientMessageSchema.options.map((option) => ({ side: "client", option })),
      ...serverMessageSchema.options.map((option) => ({ side: "server", option })),
    ].map(({ side, option }) => [`${side}.${option.shape.type.value}`, Object.keys(option.shape).sort()]);
    const described = Object.entries(messages).map(([name, { payload }]) => [
      name,
      Object.keys((payload as { properties: object }).properties).sort(),
    ]);
    expect(Object.fromEntries(described)).toEqual(Object.fromEntries(expected));
  });

  it("has every reply code and every close code", () => {
    const codesOf = ({ oneOf }: Record<string, unknown>) =>
      (oneOf as { const: number; title: string }[]).map((one) => [one.title, one.const]);
    expect(codesOf(events.components.schemas.ReplyCode)).toEqual(Object.entries(ReplyCode));
    expect(codesOf(events.components.schemas.CloseCode)).toEqual(Object.entries(CloseCode));
  });

  it("has every topic of docs/mqtt.md, and no other", () => {
    const rows = tableRows(sectionOf(readPage("docs/mqtt.md"), "## Topics")).map(([topic]) => unquoted(topic));
    const documented = rows.filter((topic) => /^(cameras|processing|system|home-assistant|channels)\/\{/.test(topic));
    const addresses = Object.values(events.channels).flatMap(({ address }) =>
      address.startsWith("skylapse/v1/") ? [address.replace("skylapse/v1/", "")] : [],
    );
    expect(addresses).toEqual(expect.arrayContaining(documented));
    const states = addresses.filter((address) => !documented.includes(address));
    for (const address of states) expect(address).toMatch(/^cameras\/\{camera\}\/state\/|^system\//);
  });

  it("has every event and every command", () => {
    const named = Object.values(events.channels).flatMap(({ messages }) => Object.keys(messages));
    // Over MQTT, these three events are an empty payload, a JPEG and an empty payload.
    const byMqtt = EVENTS.filter((event) => !["alert.cleared", "preview.updated", "state.cleared"].includes(event));
    expect(named).toEqual(expect.arrayContaining([...byMqtt, ...Object.keys(commandArgs)]));
  });

  it("has no reference to a missing part", () => {
    const refs = [...JSON.stringify(events).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, path = ""]) => path);
    for (const path of refs)
      expect([
        path,
        path.split("/").reduce<unknown>((found, name) => (found as Record<string, unknown>)?.[name], events),
      ]).not.toEqual([path, undefined]);
  });
});

describe("GET /docs", () => {
  it("shows every route, message and topic, and loads no other file", async () => {
    const { status, text, headers } = await bridge.call("/docs");
    expect([status, headers["content-type"]]).toEqual([200, "text/html; charset=utf-8"]);
    for (const route of routes) expect(text).toContain(`<code>${route}</code>`);
    for (const { address, messages } of Object.values(events.channels)) {
      expect(text).toContain(`<code>${address}</code>`);
      for (const name of Object.keys(messages)) expect(text).toContain(`<code>${name}</code>`);
    }
    expect(text).not.toMatch(/<script|<link|<img|src=|url\(|https?:/);
  });
});

it("every path of the document answers another method with 405 and Allow", async () => {
  for (const [path, item] of Object.entries(http.paths)) {
    const { status, headers, body } = await bridge.call(path.replaceAll(/\{\w+\}/g, "north"), {
      method: "PATCH",
      token: OPERATOR_KEY,
    });
    expect([path, status, body.error.code]).toEqual([path, 405, "method_not_allowed"]);
    const allowed = String(headers.allow)
      .split(", ")
      .filter((method) => method !== "HEAD");
    expect([path, allowed.sort()]).toEqual([
      path,
      Object.keys(item)
        .map((method) => method.toUpperCase())
        .sort(),
    ]);
  }
});

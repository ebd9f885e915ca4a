import { z } from "zod";
import { type JsonSchema, jsonSchemaOf } from "../../contract/json-schema.ts";
import { ERRORS, type ErrorName } from "./error-codes.ts";
import type { DescribedRoute, RouteDescription } from "./route-description.ts";

interface Parameter {
  name: string;
  in: "path" | "query";
  required: boolean;
  schema: JsonSchema;
}

interface Response {
  description: string;
  headers?: Record<string, JsonSchema>;
  /** By media type. */
  content?: Record<string, { schema?: JsonSchema }>;
}

export interface Operation {
  operationId: string;
  tags: string[];
  summary: string;
  security: Record<string, string[]>[];
  parameters?: Parameter[];
  requestBody?: { required: boolean; content: Record<string, { schema: JsonSchema }> };
  /** By status. */
  responses: Record<string, Response>;
}

const errorNames = Object.keys(ERRORS) as ErrorName[];

const errorSchema = z.object({
  error: z.object({
    code: z.enum(errorNames.map(codeOf)).describe("For programs"),
    message: z.string().describe("For people: what is wrong, and what to do"),
    details: z.unknown().optional().describe("The wrong fields of the request, or the command that failed"),
  }),
});

/** Errors of every route: the server answers some of them before it knows the route. */
const COMMON: readonly ErrorName[] = ["408 request_timeout", "431 headers_too_large", "500 internal"];

const HEADERS_OF_ERRORS: Record<number, Record<string, string>> = {
  401: { "WWW-Authenticate": "`Bearer`" },
  405: { Allow: "The methods of the path" },
  429: { "Retry-After": "Seconds until the next attempt" },
};

const ABOUT = `HTTP API of Skylapse Realtime. Every path answers another method with 405 and the header \`Allow\`.

A token is sent as \`Authorization: Bearer TOKEN\`. The permission \`admin\` and the operator key suffice for every route.
Times are RFC 3339 in UTC. The WebSocket and MQTT are in \`/asyncapi.yaml\`.`;

/** The OpenAPI 3.1 document of the routes. */
export function openApi(routes: readonly DescribedRoute[], version: string) {
  /** By path and method in lower case. */
  const paths: Record<string, Record<string, Operation>> = {};
  for (const route of routes) {
    const path = pathOf(route.url);
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operationOf(route) };
  }
  return {
    openapi: "3.1.0",
    info: { title: "Skylapse Realtime", version, description: ABOUT, license: { name: "MIT", identifier: "MIT" } },
    servers: [{ url: "/" }],
    tags: [...new Set(routes.map(({ description }) => description.group))].map((name) => ({ name })),
    paths,
    components: {
      schemas: { Error: jsonSchema(errorSchema) },
      responses: { MethodNotAllowed: errorResponse(["405 method_not_allowed"]) },
      securitySchemes: {
        token: { type: "http", scheme: "bearer", bearerFormat: "JWT", description: "A token of a user or program" },
        operatorKey: { type: "http", scheme: "bearer", description: "The setting `OPERATOR_KEY`" },
      },
    },
  };
}

/** The path as OpenAPI and `docs/http.md` write it. */
export const pathOf = (url: string) => (url === "/*" ? "/" : url.replaceAll(/:(\w+)/g, "{$1}"));

function operationOf(route: DescribedRoute): Operation {
  const { method, url, description } = route;
  const { group, summary, path, query, body, responses } = description;
  const parameters = [...parametersOf("path", path), ...parametersOf("query", query)];
  return {
    operationId: `${method.toLowerCase()}${pathOf(url).replaceAll(/[^A-Za-z0-9]+(\w?)/g, (_, next) => next.toUpperCase())}`,
    tags: [group],
    summary,
    security: securityOf(description),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined ? {} : { requestBody: requestBodyOf(body) }),
    responses: {
      ...Object.fromEntries(Object.entries(responses).map(([status, response]) => [status, responseOf(response)])),
      ...errorResponses(errorsOf(route)),
    },
  };
}

function parametersOf(place: "path" | "query", schema: z.ZodObject | undefined): Parameter[] {
  return Object.entries(schema?.shape ?? {}).map(([name, field]) => {
    const required = place === "path" || !accepts(field, undefined);
    return { name, in: place, required, schema: jsonSchema(field as z.ZodType) };
  });
}

function requestBodyOf(body: z.ZodType): NonNullable<Operation["requestBody"]> {
  return { required: !accepts(body, undefined), content: { "application/json": { schema: jsonSchema(body) } } };
}

function securityOf({ permissions, needsToken, openInTrial }: RouteDescription): Record<string, string[]>[] {
  if (needsToken === true) return [{ token: [] }, { operatorKey: [] }];
  if (permissions === undefined) return [];
  const tokens = permissions.length === 0 ? [] : [...new Set([...permissions, "admin"])];
  const local = openInTrial === true ? [{}] : [];
  return [...tokens.map((permission) => ({ token: [permission] })), { operatorKey: [] }, ...local];
}

function responseOf({ is, json, types = [], headers }: RouteDescription["responses"][number]): Response {
  const content = {
    ...(json === undefined ? {} : { "application/json": { schema: jsonSchema(json) } }),
    ...Object.fromEntries(types.map((type) => [type, {}])),
  };
  return {
    description: is,
    ...(headers === undefined ? {} : { headers: headersOf(headers) }),
    ...(Object.keys(content).length === 0 ? {} : { content }),
  };
}

function errorsOf({ method, isLimited, description }: DescribedRoute): ErrorName[] {
  const { permissions, needsToken, path, query, body, errors = [] } = description;
  const takesBody = method !== "GET";
  return [
    ...COMMON,
    ...errors,
    ...(isLimited ? (["429 rate_limited"] as const) : []),
    ...(needsToken === true ? (["401 unauthorized", "503 provider_unavailable"] as const) : []),
    ...(permissions === undefined ? [] : (["401 unauthorized", "403 permission_denied"] as const)),
    ...(permissions === undefined && !takesBody
      ? []
      : (["503 store_unavailable", "503 provider_unavailable"] as const)),
    ...((path ?? query ?? body) === undefined && !takesBody ? [] : (["400 bad_request"] as const)),
    ...(takesBody ? (["413 payload_too_large", "415 unsupported_media_type"] as const) : []),
  ];
}

/** One response for each status, with all codes of this status. */
function errorResponses(names: readonly ErrorName[]): Record<string, Response> {
  const statuses = [...new Set(names.map(statusOf))].sort();
  return Object.fromEntries(
    statuses.map((status) => [
      status,
      errorResponse(errorNames.filter((name) => names.includes(name) && statusOf(name) === status)),
    ]),
  );
}

/** @param names errors of one status */
function errorResponse(names: readonly ErrorName[]): Response {
  const headers = HEADERS_OF_ERRORS[names.map(statusOf)[0] ?? 0];
  const code = { properties: { error: { properties: { code: { enum: names.map(codeOf) } } } } };
  return {
    description: names.map((name) => `\`${codeOf(name)}\`: ${ERRORS[name]}`).join(". "),
    ...(headers === undefined ? {} : { headers: headersOf(headers) }),
    content: { "application/json": { schema: { allOf: [{ $ref: "#/components/schemas/Error" }, code] } } },
  };
}

const headersOf = (headers: Readonly<Record<string, string>>) =>
  Object.fromEntries(
    Object.entries(headers).map(([name, description]) => [name, { description, schema: { type: "string" } }]),
  );

function statusOf(name: ErrorName): number {
  return Number(name.slice(0, 3));
}

function codeOf(name: ErrorName): string {
  return name.slice(4);
}

const jsonSchema = (schema: z.ZodType) => jsonSchemaOf(schema, "draft-2020-12");
const accepts = (schema: z.core.$ZodType, value: unknown) => z.safeParse(schema, value).success;

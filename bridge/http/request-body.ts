import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { MAX_JSON_DEPTH } from "../../contract/events.ts";
import { jsonDepth } from "../../contract/json-text.ts";
import { withoutBom } from "../../platform/byte-order-mark.ts";
import { badRequest } from "./errors.ts";

/** The most characters of a path parameter: a percent-encoded user id of 128 characters of 4 UTF-8 bytes fits. */
export const MAX_PARAM_LENGTH = 128 * 4 * 3;

/**
 * The most bytes of a body that are read from an unauthenticated sender. A login fits, even if the longest password is
 * written in six-byte escapes. A slow body stays in memory, and one address may send a thousand bodies at once.
 */
export const MAX_STRANGER_BODY_BYTES = 16 * 1024;

/** Whether the body may be larger than {@link MAX_STRANGER_BODY_BYTES} and the route accepts such bodies. */
export function isForKnownOnly({ headers, routeOptions: { bodyLimit } }: FastifyRequest): boolean {
  const announced = headers["transfer-encoding"] === undefined ? Number(headers["content-length"] ?? 0) : Infinity;
  return Math.min(announced, bodyLimit) > MAX_STRANGER_BODY_BYTES;
}

const texts = new WeakMap<object, string>();

/** The text that a body was parsed from, to pass it on exactly as it was sent; undefined if the body is no object. */
export function textOfBody(body: unknown): string | undefined {
  return typeof body === "object" && body !== null ? texts.get(body) : undefined;
}

/**
 * Parses every body as JSON, whatever its Content-Type: `curl -d` declares a form. So a form of another site can send a
 * body, too. `callers.ts` refuses such a request, because it has an Origin and no credentials.
 */
export function readBodiesAsJson(server: FastifyInstance): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser("*", { parseAs: "string" }, async (_request: unknown, body: string) => {
    const text = withoutBom(body);
    if (text === "") return undefined;
    if (jsonDepth(text) > MAX_JSON_DEPTH) throw badRequest(`The body nests deeper than ${MAX_JSON_DEPTH} levels`);
    try {
      const body: unknown = JSON.parse(text);
      if (typeof body === "object" && body !== null) texts.set(body, text);
      return body;
    } catch {
      throw badRequest("The body is not valid JSON");
    }
  });
}

// These three check a part of a request. They throw a RequestError 400 that names each wrong field.
export const readBody = <S extends z.ZodType>(schema: S, body: unknown) => read(schema, body, "body");
export const readQuery = <S extends z.ZodType>(schema: S, { query }: FastifyRequest) => read(schema, query, "query");
export const readPath = <S extends z.ZodType>(schema: S, { params }: FastifyRequest) => read(schema, params, "path");

function read<Schema extends z.ZodType>(schema: Schema, value: unknown, place: string): z.output<Schema> {
  const result = schema.safeParse(value, { error: explain });
  if (result.success) return result.data;
  const details = result.error.issues.map(({ path, message }) => ({ field: path.join("."), message }));
  throw wrongFields(details, place);
}

/** An error about wrong fields, which `details` names. */
export function wrongFields(details: readonly { field: string; message: string }[], place = "body") {
  const named = details.map(({ field, message }) => {
    if (field === "") return `The ${place} ${message}`;
    return place === "body" ? `\`${field}\` ${message}` : `\`${field}\` in the ${place} ${message}`;
  });
  return badRequest(named.join("; "), details);
}

const NOUNS: Readonly<Record<string, string>> = {
  array: "a list",
  boolean: "true or false",
  int: "a whole number",
  number: "a number",
  object: "an object",
  string: "a string",
};

/** A message such as `is missing: a list of strings`, for a wrong value whose schema has no message of its own. */
function explain(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case "invalid_type": {
      const isListOfStrings = issue.inst instanceof z.ZodArray && issue.inst.element instanceof z.ZodString;
      const noun = isListOfStrings ? "a list of strings" : (NOUNS[issue.expected] ?? issue.expected);
      return issue.input === undefined ? `is missing: ${noun}` : `must be ${noun}`;
    }
    case "invalid_value":
      return `must be one of ${issue.values.join(", ")}`;
    case "too_big":
      return issue.origin === "string"
        ? `must have at most ${issue.maximum} characters`
        : `must be at most ${issue.maximum}`;
    case "too_small":
      if (issue.origin === "string") return `must have at least ${issue.minimum} characters`;
      return issue.inclusive === false ? `must be above ${issue.minimum}` : `must be at least ${issue.minimum}`;
    case "unrecognized_keys":
      return `has unknown fields: ${issue.keys.join(", ")}`;
    default:
      return undefined;
  }
}

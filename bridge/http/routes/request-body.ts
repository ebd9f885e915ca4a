import type { FastifyInstance, FastifyRequest } from "fastify";
import type { z } from "zod";
import { MAX_JSON_DEPTH } from "../../../contract/events.ts";
import { jsonDepth } from "../../../contract/json-text.ts";
import { withoutBom } from "../../../platform/byte-order-mark.ts";
import { badRequest } from "../errors.ts";

/** A user id of 128 characters, each 4 bytes in UTF-8, percent-encoded. What a parameter may be, each route says. */
export const MAX_PARAM_LENGTH = 128 * 4 * 3;

/**
 * Bytes of a body that are read of somebody who has not said who he is: a login, its longest password written in escapes
 * of six bytes, fits. A body waits in memory until its last byte has come, for as long as a request may take, and one
 * address may have a thousand of them.
 */
export const MAX_STRANGER_BODY_BYTES = 16 * 1024;

/** Whether more than that is announced, or may come, and the route would read it. */
export function isForKnownOnly({ headers, routeOptions: { bodyLimit } }: FastifyRequest): boolean {
  const announced = headers["transfer-encoding"] === undefined ? Number(headers["content-length"] ?? 0) : Infinity;
  return Math.min(announced, bodyLimit) > MAX_STRANGER_BODY_BYTES;
}

/** The text of each body that is an object. */
const texts = new WeakMap<object, string>();

/** The text that a body was read from, for what is passed on as it was sent; undefined of what is no object. */
export function textOfBody(body: unknown): string | undefined {
  return typeof body === "object" && body !== null ? texts.get(body) : undefined;
}

/**
 * Every body is read as JSON, whatever its Content-Type says: `curl -d` says form, and the owner's guide calls it so.
 * That lets a form of another site send a body, too; such a request carries an Origin and no credentials, and is
 * refused for that (`callers.ts`).
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
      throw badRequest("The body is no valid JSON");
    }
  });
}

/** @throws {RequestError} 400 naming each field that is wrong */
export function read<Schema extends z.ZodType>(schema: Schema, value: unknown, what = "The body"): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const details = result.error.issues.map(({ path, message }) => ({ field: path.join("."), message }));
  const named = details.map(({ field, message }) => (field === "" ? message : `${field} ${message}`));
  throw badRequest(`${what} is not right: ${named.join("; ")}`, details);
}

import type { FastifyInstance } from "fastify";
import type { z } from "zod";
import { jsonDepth, MAX_JSON_DEPTH } from "../../contract/events.ts";
import { badRequest } from "../errors.ts";

/** A user id of 128 characters, each 4 bytes in UTF-8, percent-encoded. What a parameter may be, each route says. */
export const MAX_PARAM_LENGTH = 128 * 4 * 3;

/**
 * Every body is read as JSON, whatever its Content-Type says: `curl -d` says form, and the owner's guide calls it so.
 * That lets a form of another site send a body, too; such a request carries an Origin and no credentials, and is
 * refused for that (`callers.ts`).
 */
export function readBodiesAsJson(server: FastifyInstance): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser("*", { parseAs: "string" }, async (_request: unknown, text: string) => {
    if (text === "") return undefined;
    if (jsonDepth(text) > MAX_JSON_DEPTH) throw badRequest(`The body nests deeper than ${MAX_JSON_DEPTH} levels`);
    try {
      return JSON.parse(text);
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

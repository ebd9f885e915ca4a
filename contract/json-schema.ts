import { z } from "zod";

/** A JSON Schema, or a part of one. */
export type JsonSchema = Record<string, unknown>;

/** `draft-7` is the dialect of AsyncAPI, `draft-2020-12` that of OpenAPI 3.1. */
export type Dialect = "draft-7" | "draft-2020-12";

/**
 * The JSON Schema of what a sender may write: a field with a default is optional. Rules that JSON Schema cannot express,
 * such as a refinement, are left out.
 */
export function jsonSchemaOf(schema: z.ZodType, target: Dialect): JsonSchema {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io: "input", unrepresentable: "any", target });
  return rest;
}

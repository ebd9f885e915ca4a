import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { z } from "zod";
import { COMMAND_STATUSES } from "../../contract/command-status.ts";
import { isServerMessage, serverMessageProblem } from "../../contract/server-message.ts";
import { serverMessageSchema } from "../../contract/socket-messages.ts";

/** Values that are valid for some field, or nearly valid. */
const value = fc.oneof(
  fc.constantFrom<unknown>(undefined, null, true, false, 0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53),
  fc.constantFrom<unknown>("", "x".repeat(64), "x".repeat(65), [], ["a"], ["a", 1], {}, "trimmed", "damaged", "sent"),
  fc.constantFrom<unknown>({ after: 1, before: 2 }, { after: 1 }, { after: 1.5, before: 2 }, [1, 2]),
  fc.constantFrom<unknown>(...COMMAND_STATUSES),
  fc.jsonValue(),
);

/** JSON has no `undefined`, so a parsed frame lacks the field instead. */
function withoutUndefined(message: object): object {
  return Object.fromEntries(Object.entries(message).filter(([, one]) => one !== undefined));
}

function fieldsOf(schema: z.ZodObject): string[] {
  return Object.keys(schema.shape).filter((name) => name !== "type");
}

/** A message with the right type, in which every field is valid, nearly valid or absent. */
const nearMessage = fc.constantFrom(...serverMessageSchema.options).chain((schema) => {
  const [type] = [...schema.shape.type.values];
  const valid = fc.record(
    Object.fromEntries(fieldsOf(schema).map((name) => [name, fc.oneof({ weight: 6, arbitrary: likely(name) }, value)])),
    { requiredKeys: [] },
  );
  return valid.map((fields) => withoutUndefined({ type, ...fields }));
});

const LIKELY: Record<string, fc.Arbitrary<unknown>> = {
  permissions: fc.constant(["admin"]),
  channels: fc.constant(["alerts", "dashboard"]),
  gap: fc.constant({ after: 1, before: 9 }),
  reason: fc.constantFrom("trimmed", "ahead"),
  status: fc.constantFrom(...COMMAND_STATUSES),
};
const WHOLE = new Set(["position", "seq", "code", "expires_in", "ping_interval"]);
const FLAGS = new Set(["success", "recovered", "historical", "snapshot"]);

function likely(name: string): fc.Arbitrary<unknown> {
  return LIKELY[name] ?? (WHOLE.has(name) ? fc.nat() : FLAGS.has(name) ? fc.boolean() : fc.string());
}

describe("isServerMessage", () => {
  it("accepts and refuses the same messages as the schema", () => {
    let accepted = 0;
    const agrees = (message: unknown): void => {
      const bySchema = serverMessageSchema.safeParse(message).success;
      expect(isServerMessage(message), JSON.stringify(message)).toBe(bySchema);
      if (bySchema) accepted++;
    };
    fc.assert(fc.property(nearMessage, agrees), { numRuns: 3000 });
    // Otherwise the test would compare refusals only.
    expect(accepted).toBeGreaterThan(100);
    fc.assert(fc.property(value, agrees), { numRuns: 200 });
  });

  it.each(serverMessageSchema.options.map((schema) => [[...schema.shape.type.values][0], schema] as const))(
    "checks every field of %s as the schema does",
    (type, schema) => {
      const wrong = [undefined, null, true, 0, 1.5, "x".repeat(65), "trimmed", "sent", [], ["a"], [1], {}];
      const message = fullMessage(type, schema);
      expect([serverMessageProblem(message), serverMessageSchema.safeParse(message).success]).toEqual([
        undefined,
        true,
      ]);
      for (const name of fieldsOf(schema))
        for (const other of wrong) {
          const changed = withoutUndefined({ ...message, [name]: other });
          const bySchema = serverMessageSchema.safeParse(changed).success;
          expect(isServerMessage(changed), `${name}: ${JSON.stringify(other)}`).toBe(bySchema);
        }
    },
  );

  it("names the wrong field, and says which values are valid", () => {
    expect(serverMessageProblem({ type: "lagging", position: "9" })).toBe("position must be a whole number");
    expect(serverMessageProblem({ type: "constructor" })).toBe("type must be a known message type");
    expect(serverMessageProblem([])).toBe("a message must be an object");
  });
});

function fullMessage(type: unknown, schema: z.ZodObject): Record<string, unknown> {
  const fields = fieldsOf(schema).map((name) => [name, fc.sample(likely(name), 1)[0]]);
  return { ...Object.fromEntries(fields), type };
}

import fc, { type Arbitrary } from "fast-check";

/** Text that has broken similar programs: inherited names, wildcards, paths, line breaks, invalid characters. */
export const HOSTILE_TEXT = [
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "",
  "#",
  "+",
  "$SYS/broker",
  "../../etc/passwd",
  "north/../south",
  "a\nb",
  "a\u0000b",
  "\u202egpj.exe",
  "\ud800",
  "\ufeff",
  "%00%2e%2e",
  "{{7*7}}",
  "x".repeat(600),
] as const;

export const hostileText: Arbitrary<string> = fc.constantFrom(...HOSTILE_TEXT);

/** A value of any type in place of the expected value. */
export const hostileValue: Arbitrary<unknown> = fc.oneof(
  hostileText,
  fc.jsonValue({ maxDepth: 3 }),
  fc.constantFrom<unknown>(null, -1, 0, 1e308, -0, Number.MAX_SAFE_INTEGER, true, [], {}, [[[]]]),
  fc.integer({ min: 1, max: 70 }).map((depth) => JSON.parse(`${"[".repeat(depth)}${"]".repeat(depth)}`) as unknown),
);

/** JSON of a valid object with up to two fields replaced, and sometimes with an undeclared member. */
export function hostileJson(valid: Record<string, unknown>): Arbitrary<string> {
  const fields = Object.keys(valid);
  return fc
    .tuple(
      fc.array(fc.tuple(fc.constantFrom(...fields), hostileValue), { maxLength: 2 }),
      fc.option(fc.tuple(hostileText, hostileValue), { freq: 4 }),
    )
    .map(([changes, extra]) => {
      const members = new Map<string, unknown>(Object.entries(valid));
      for (const [name, value] of changes) members.set(name, value);
      // The text is written member by member: in an object literal, `__proto__` would set the prototype.
      if (extra) members.set(extra[0], extra[1]);
      return `{${[...members].map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(",")}}`;
    });
}

export const rawBytes: Arbitrary<Buffer> = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));

/** Valid bytes with one to four random changes. */
export function mutated(valid: Arbitrary<Buffer>): Arbitrary<Buffer> {
  const change = fc.record({
    kind: fc.constantFrom("flip", "set", "insert", "delete", "cut", "repeat"),
    at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    byte: fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255)),
    count: fc.integer({ min: 1, max: 12 }),
  });
  return fc.tuple(valid, fc.array(change, { minLength: 1, maxLength: 4 })).map(([bytes, changes]) => {
    let result = Buffer.from(bytes);
    for (const { kind, at, byte, count } of changes) {
      const index = Math.floor(at * result.length);
      const [before, after] = [result.subarray(0, index), result.subarray(index)];
      if (kind === "insert") result = Buffer.concat([before, Buffer.alloc(count, byte), after]);
      else if (kind === "delete") result = Buffer.concat([before, after.subarray(count)]);
      else if (kind === "cut") result = Buffer.from(before);
      else if (kind === "repeat") result = Buffer.concat([before, after.subarray(0, count), after]);
      else if (result.length > 0) {
        result = Buffer.from(result);
        result[index] = kind === "set" ? byte : (result[index] ?? 0) ^ (1 << (byte & 7));
      }
    }
    return result;
  });
}

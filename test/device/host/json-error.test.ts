import fc from "fast-check";
import { expect, test } from "vitest";
import { jsonErrorAt } from "../../../device/host/json-error.ts";

test.each([
  ["", 1, 1],
  ["{", 1, 2],
  ['{"a":1', 1, 7],
  ["{}}", 1, 3],
  ['{"a" 1}', 1, 2],
  ['{"a":1,}', 1, 8],
  ["[1,]", 1, 4],
  ["[1 2]", 1, 4],
  ["[01]", 1, 2],
  ["[1.]", 1, 2],
  ["nul", 1, 1],
  ["[}", 1, 2],
  ["{]", 1, 2],
  ["{'a':1}", 1, 2],
  ['{"a":"x\ty"}', 1, 6],
  ['{"a":"\\x"}', 1, 6],
  ['{\n  "a": 1\n  "b": 2\n}', 3, 3],
  ['{\r\n  "a": 1,\r\n  // no comments\r\n}', 3, 3],
])("the JSON check finds the error of %j in line %i, column %i", (text, line, column) => {
  expect(() => JSON.parse(text)).toThrow();
  expect(jsonErrorAt(text)).toEqual({ line, column });
});

test("the JSON check reaches the end of any valid JSON, and finds an invalid character before the end", () => {
  fc.assert(
    fc.property(fc.json(), fc.constantFrom(undefined, 2), (json, indent) => {
      const text = JSON.stringify(JSON.parse(json), undefined, indent);
      const lines = text.split("\n");
      const end = { line: lines.length, column: (lines.at(-1)?.length ?? 0) + 1 };
      expect(jsonErrorAt(text)).toEqual(end);
      expect(jsonErrorAt(`${text}~`)).toEqual(end);
      expect(jsonErrorAt(`\n ~${text}`)).toEqual({ line: 2, column: 2 });
    }),
    { numRuns: 200 },
  );
});

import { expect, it } from "vitest";
import { closingLines, isWorthASecondTry, type Outcome } from "./outcome.ts";

const NOTHING: Outcome = { passed: 0, failed: 0, skipped: 0, failedFiles: [], otherErrors: 0 };
const failedFile = (file: string) => ({ file, passed: 3, skipped: 0, error: "expected 1 to be 2" });
const FIRST: Outcome = { ...NOTHING, passed: 10, failed: 2, failedFiles: [failedFile("a"), failedFile("b")] };

it("runs failed files again, but not many, and not after an error outside a test", () => {
  expect(isWorthASecondTry(NOTHING)).toBe(false);
  expect(isWorthASecondTry(FIRST)).toBe(true);
  expect(isWorthASecondTry({ ...FIRST, otherErrors: 1 })).toBe(false);
  expect(isWorthASecondTry({ ...FIRST, failedFiles: Array.from({ length: 9 }, () => failedFile("a")) })).toBe(false);
});

it("counts each test once, names what passed at the second try, and fails for what failed twice", () => {
  expect(closingLines(FIRST)).toBe("10 passed, 2 failed");
  expect(closingLines({ ...NOTHING, passed: 10, skipped: 1 })).toBe("10 passed, 0 failed, 1 skipped");
  const second: Outcome = { ...NOTHING, passed: 7, failed: 1, failedFiles: [failedFile("b")] };
  expect(closingLines(FIRST, second)).toBe(
    "passed only at the second try: a (first: expected 1 to be 2)\n11 passed, 1 failed",
  );
});

import { type CliOptions, startVitest, type TestModule } from "vitest/node";
import type { FailedFile, Outcome } from "./outcome.ts";

/** @param files names or parts of names. Default: all */
export async function runTests(files: string[], options: CliOptions): Promise<Outcome> {
  const vitest = await startVitest("test", files, options);
  const modules = vitest.state.getTestModules();
  const counts = modules.map(countsOf);
  const otherErrors = vitest.state.getUnhandledErrors().length;
  await vitest.close();
  const sumOf = (name: "passed" | "failed" | "skipped") => counts.reduce((sum, count) => sum + count[name], 0);
  return {
    passed: sumOf("passed"),
    // Vitest fails also if it finds no test.
    failed: sumOf("failed") + otherErrors + (modules.length === 0 ? 1 : 0),
    skipped: sumOf("skipped"),
    failedFiles: counts.filter(({ failed }) => failed > 0),
    otherErrors,
  };
}

function countsOf(module: TestModule): FailedFile & { failed: number } {
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  const errors = module.errors().map(({ message }) => message);
  for (const test of module.children.allTests()) {
    const { state, errors: ofTest = [] } = test.result();
    if (state === "passed") passed++;
    else if (state === "failed") failed++;
    else skipped++;
    errors.push(...ofTest.map(({ message }) => message));
  }
  // A file that cannot be loaded, or whose clean-up fails, has maybe no failed test, but is one failure.
  if (module.state() === "failed" && failed === 0) failed = 1;
  return { file: module.relativeModuleId, passed, failed, skipped, error: errors[0]?.split("\n")[0] ?? "" };
}

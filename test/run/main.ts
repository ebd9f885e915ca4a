// The program of `npm test`: `node dist/test/run/main.js [options and files, as for vitest run]`.
//
// Runs all tests. A file that has failed runs once more, alone: then a fault is told apart from a machine that was too busy. The last
// lines name each file that needed the second try, and its first error. Long forms (`npm run test:long`) have no second try, because
// their faults are rare by nature.

import { parseCLI } from "vitest/node";
import { closingLines, isWorthASecondTry } from "./outcome.ts";
import { runTests } from "./run-tests.ts";

const { filter, options } = parseCLI(["vitest", "run", ...process.argv.slice(2)]);
const first = await runTests(filter, options);
const second = isWorthASecondTry(first)
  ? await runTests(
      first.failedFiles.map(({ file }) => file),
      { ...options, maxWorkers: 1 },
    )
  : undefined;
process.stdout.write(`\n${closingLines(first, second)}\n`);
process.exit((second ?? first).failed === 0 ? 0 : 1);

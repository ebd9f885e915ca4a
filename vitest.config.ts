import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts", "test/**/*.test.tsx"],
    globalSetup: ["test/support/prepare.ts"],
    setupFiles: ["test/support/patience.ts"],
    reporters: ["default", "./test/support/closing-line.ts"],
    // Tests drive real programs, which share two cores with each other: a wait ends with its event, this only ends a hang.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000 } },
    maxWorkers: 3,
    restoreMocks: true,
  },
});

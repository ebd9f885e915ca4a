import { defineConfig } from "vitest/config";
import { texts } from "./dashboard-client/page/text/texts-plugin.ts";

export default defineConfig({
  plugins: [texts("all")],
  test: {
    include: ["test/**/*.test.ts", "test/**/*.test.tsx"],
    globalSetup: ["test/support/prepare.ts"],
    setupFiles: ["test/support/patience.ts"],
    // Tests run real programs, which share two cores, so a time limit must only end a hang.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000 } },
    // More workers than cores: half of the time, a test waits.
    maxWorkers: 4,
    // The files of one worker share their modules: loading them again for each file takes a fifth of the whole run.
    isolate: false,
    restoreMocks: true,
  },
});

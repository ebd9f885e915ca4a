import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT } from "../../house/source-files.ts";
import { bundleSize } from "../../support/bundle-size.ts";

/** The largest bundle of each entry point, bytes with gzip. React is not counted, because the application has it. */
const MAX_GZIP_BYTES = {
  "client/index.ts": 12_000,
  "shared/index.ts": 16_000,
  "index.ts": 18_000,
  "react/index.ts": 18_000,
};

describe("the bundle of", () => {
  it.each(Object.entries(MAX_GZIP_BYTES))(
    "%s contains no package, and has at most %i bytes with gzip",
    async (entry, max) => {
      const { gzipBytes, modules } = await bundleSize(join(ROOT, "dashboard-client", entry), [
        "react",
        "react/jsx-runtime",
        "react/jsx-dev-runtime",
      ]);
      expect(modules.filter((path) => path.includes("node_modules"))).toEqual([]);
      expect(modules.length).toBeGreaterThan(10);
      expect(gzipBytes).toBeLessThanOrEqual(max);
    },
  );
});

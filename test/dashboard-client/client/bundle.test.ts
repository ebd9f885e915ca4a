import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT } from "../../house/source-files.ts";
import { bundleSize } from "../../support/bundle-size.ts";

describe("the bundle of skylapse-realtime/client", () => {
  it("has at most 12 kB with gzip, and contains no package", async () => {
    const { gzipBytes, modules } = await bundleSize(join(ROOT, "dashboard-client/client/index.ts"));
    expect(modules.filter((path) => path.includes("node_modules"))).toEqual([]);
    expect(modules.length).toBeGreaterThan(10);
    expect(gzipBytes).toBeLessThanOrEqual(12_000);
  });
});

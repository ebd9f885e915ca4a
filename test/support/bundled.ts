import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const DIST = fileURLToPath(new URL("../../dist", import.meta.url));
export const BUNDLE_FOLDER = join(DIST, "test", "bundled");

/**
 * The path of a program of `dist` in the bundle, which `bundle-programs.ts` makes before all tests.
 * @param path below `dist`, such as `deploy/start.js`
 */
export const bundled = (path: string) => join(BUNDLE_FOLDER, path);

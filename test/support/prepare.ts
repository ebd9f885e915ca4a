import { bundlePrograms } from "./bundle-programs.ts";
import { installNode24 } from "./node-24.ts";
import { installPrograms } from "./programs.ts";

/** Runs once before all tests, after the build of `npm test`. */
export default async function prepare(): Promise<void> {
  installPrograms();
  installNode24();
  await bundlePrograms();
}

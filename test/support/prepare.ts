import { bundlePrograms } from "./bundle-programs.ts";
import { installRuntimes } from "./other-runtimes.ts";
import { installPrograms } from "./programs.ts";

/** Runs once before all tests, after the build of `npm test`. */
export default async function prepare(): Promise<void> {
  installPrograms();
  installRuntimes();
  await bundlePrograms();
}

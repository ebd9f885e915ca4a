import { installNode24 } from "./node-24.ts";
import { installPrograms } from "./programs.ts";

/** Runs once before all tests, after the build of `npm test`. */
export default function prepare(): void {
  installPrograms();
  installNode24();
}

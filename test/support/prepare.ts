import { installPrograms } from "./programs.ts";

/** Runs once before all tests. The build that tests of the whole program run is made by `npm test` before. */
export default function prepare(): void {
  installPrograms();
}

import { installPrograms } from "./programs.ts";

/** Runs once before all tests. `npm test` has built the programs already. */
export default function prepare(): void {
  installPrograms();
}

import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../../broker-under-test.ts";

const DATA = fileURLToPath(new URL("data.tar.gz", import.meta.url));

/** @returns a copy of the data that make-data.mjs has made with the version before the log */
export function earlierData(): string {
  const dataPath = temporaryFolder();
  execFileSync("tar", ["-xzf", DATA, "-C", dataPath]);
  return dataPath;
}

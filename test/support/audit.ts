import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { trafficLogOf } from "../../bridge/auth/audit.ts";

/** All lines of both audit logs in a data path: logins and changes first, then commands and broadcasts. */
export function auditText(dataPath: string): string {
  const security = join(dataPath, "audit.log");
  return [security, trafficLogOf(security)]
    .filter((path) => existsSync(path))
    .map((path) => readFileSync(path, "utf8"))
    .join("");
}

import { readFileSync } from "node:fs";
import { parseEnv } from "node:util";
import { withoutBom } from "../../platform/byte-order-mark.ts";
import { ConfigurationError } from "../../platform/config.ts";

/**
 * Adds the settings of the file `.env` in the working directory to the environment, as `process.loadEnvFile` does. The
 * environment takes precedence. Node's own reader would regard a byte order mark as a part of the first name.
 * @throws {ConfigurationError} the file exists and cannot be read
 */
export function loadEnvFile(env: NodeJS.ProcessEnv, path = ".env"): void {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return;
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigurationError([`${path}: cannot be read (${reason}): let this user read it, or remove it`]);
  }
  for (const [name, value] of Object.entries(parseEnv(withoutBom(text)))) env[name] ??= value;
}

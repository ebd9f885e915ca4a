import { readFileSync } from "node:fs";
import { parseEnv } from "node:util";
import { withoutBom } from "../../platform/byte-order-mark.ts";
import { ConfigurationError } from "../../platform/config.ts";
import { reasonOf } from "../../platform/error-reason.ts";
import { messageOf } from "../../platform/errors.ts";

/**
 * Adds the settings of a file to the environment. The environment takes precedence. Unlike `process.loadEnvFile`, this
 * ignores a byte order mark: Node would read the mark as a part of the first name.
 * @throws {ConfigurationError} the file exists but cannot be read
 */
export function loadEnvFile(env: NodeJS.ProcessEnv, path = ".env"): void {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (reasonOf(error) === "ENOENT") return;
    const reason = messageOf(error);
    throw new ConfigurationError([`${path}: cannot be read (${reason}): let this user read it, or remove it`]);
  }
  for (const [name, value] of Object.entries(parseEnv(withoutBom(text)))) env[name] ??= value;
}

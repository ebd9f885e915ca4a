import { readFileSync } from "node:fs";
import { withoutBom } from "../../platform/byte-order-mark.ts";
import { ConfigurationError } from "../../platform/config.ts";
import { messageOf } from "../../platform/errors.ts";
import { jsonErrorAt } from "./json-error.ts";

/**
 * @param name the setting that names the file, for the error
 * @throws {ConfigurationError} with the error's position, but without content: the file may have secrets
 */
export function readJsonFile(name: string, file: string): unknown {
  let text: string;
  try {
    text = withoutBom(readFileSync(file, "utf8"));
  } catch (error) {
    throw new ConfigurationError([`${name}: cannot read ${file}: ${messageOf(error)}`]);
  }
  try {
    return JSON.parse(text);
  } catch {
    const { line, column } = jsonErrorAt(text);
    throw new ConfigurationError([`${name}: ${file} is not valid JSON: see line ${line}, column ${column}`]);
  }
}

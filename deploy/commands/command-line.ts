import { InvalidArgumentError, Option } from "commander";
import type { z } from "zod";
import { permissionsSchema } from "../../bridge/auth/tokens.ts";
import { visible } from "../../contract/visible-text.ts";
import type { Finding } from "../doctor/finding.ts";
import type { OperatorApi } from "../operator/operator-api.ts";

/** Calls a command with the API of the server or of its store, and closes the API afterwards. */
export type WithApi = (use: (api: OperatorApi) => Promise<void>) => Promise<void>;

/**
 * Prints one or more lines. Escapes control characters, because names are untrusted and terminals execute some of these
 * characters.
 */
export function print(text: string): void {
  process.stdout.write(`${text.split("\n").map(visibleCells).join("\n")}\n`);
}

/** Prints one line for each finding, in columns. */
export function printFindings(findings: readonly Finding[]): void {
  const width = Math.max(...findings.map(({ subject }) => subject.length));
  for (const { verdict, subject, text } of findings)
    print(`${verdict.padEnd("wrong".length)}  ${subject.padEnd(width)}  ${text}`);
}

/** Keeps tabs, which separate the columns of a list. */
function visibleCells(line: string): string {
  return line.split("\t").map(visible).join("\t");
}

/** A parser for an argument or an option; it refuses invalid text before the command runs. */
export function checkedBy<Value>(schema: z.ZodType<Value>): (text: string) => Value {
  return (text) => {
    const result = schema.safeParse(text);
    if (!result.success) throw new InvalidArgumentError(`It ${result.error.issues[0]?.message}.`);
    return result.data;
  };
}

/**
 * `--permission <name...>`. The server checks that the permission exists, because it knows the channels of
 * CHANNELS_FILE.
 */
export function permissionOption(description: string): Option {
  const check = checkedBy(permissionsSchema.element);
  return new Option("--permission <name...>", description).argParser((text, before: string[] | undefined) => [
    ...(before ?? []),
    check(text),
  ]);
}

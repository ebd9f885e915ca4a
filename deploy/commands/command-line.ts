import type { Readable, Writable } from "node:stream";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { z } from "zod";
import { roleSchema } from "../../bridge/auth/accounts.ts";
import { permissionsSchema } from "../../bridge/auth/tokens.ts";
import { visible } from "../../contract/visible-text.ts";
import type { Finding } from "../doctor/finding.ts";
import { type OperatorApi, OperatorApiError } from "../operator/operator-api.ts";

/** Runs a command with an open API, and closes the API afterwards. */
export type WithApi = (use: (api: OperatorApi) => Promise<unknown>) => Promise<void>;

/** Makes a call that only a running server answers. @throws {OperatorApiError} no server runs */
export function askServer(api: OperatorApi, ...call: Parameters<OperatorApi["call"]>): Promise<unknown> {
  if (api.isStore === true) throw new OperatorApiError("this needs a running server: start the server first");
  return api.call(...call);
}

/** The environment and the streams of the program that runs a command. */
export interface Shell {
  env: NodeJS.ProcessEnv;
  stdin: Readable & { isTTY?: boolean };
  stdout: Writable;
  stderr: Writable;
}

/** The arguments of a function that defines a command. */
export interface CommandLine {
  program: Command;
  /** The settings: the options of the command line, then the environment, then the file `.env`. */
  environment(): NodeJS.ProcessEnv;
  withApi: WithApi;
  shell: Shell;
  /** Sets the exit code to 1. The command continues. */
  fail(): void;
}

/** Escapes control characters: names are untrusted, and terminals execute some control characters. */
export function print({ stdout }: Shell, text: string): void {
  stdout.write(`${text.split("\n").map(visibleCells).join("\n")}\n`);
}

export function printFindings(shell: Shell, findings: readonly Finding[]): void {
  const width = Math.max(...findings.map(({ subject }) => subject.length));
  for (const { verdict, subject, text } of findings)
    print(shell, `${verdict.padEnd("wrong".length)}  ${subject.padEnd(width)}  ${text}`);
}

/** Keeps tabs, which separate the columns of a list. */
function visibleCells(line: string): string {
  return line.split("\t").map(visible).join("\t");
}

/** Returns a parser that refuses an invalid argument or option before the command runs. */
export function checkedBy<Value>(schema: z.ZodType<Value>): (text: string) => Value {
  return (text) => {
    const result = schema.safeParse(text);
    if (!result.success) throw new InvalidArgumentError(`It ${result.error.issues[0]?.message}.`);
    return result.data;
  };
}

export function roleOption(): Option {
  return new Option("--role <name>", "a predefined set of permissions").choices(roleSchema.options);
}

/** Only checks the syntax: the server decides whether a permission exists, because it has read CHANNELS_FILE. */
export function permissionOption(description: string): Option {
  const check = checkedBy(permissionsSchema.element);
  return new Option("--permission <name...>", description).argParser((text, before: string[] | undefined) => [
    ...(before ?? []),
    check(text),
  ]);
}

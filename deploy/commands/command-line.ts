import { InvalidArgumentError, Option } from "commander";
import type { z } from "zod";
import { permissionsSchema } from "../../bridge/auth/tokens.ts";
import { visible } from "../../contract/visible-text.ts";
import type { OperatorApi } from "../operator/operator-api.ts";

/** Gives a command the server, or its store; closes that behind it. */
export type WithApi = (use: (api: OperatorApi) => Promise<void>) => Promise<void>;

/** Prints a line, or several. What does not print is shown escaped: names come from elsewhere, and terminals obey some of them. */
export function say(text: string): void {
  process.stdout.write(`${text.split("\n").map(visibleCells).join("\n")}\n`);
}

/** Tabs stand between the columns of a list. */
function visibleCells(line: string): string {
  return line.split("\t").map(visible).join("\t");
}

/** Of an argument or option: what is wrong with it is said before anything is done. */
export function checkedBy<Value>(schema: z.ZodType<Value>): (text: string) => Value {
  return (text) => {
    const result = schema.safeParse(text);
    if (!result.success) throw new InvalidArgumentError(`It ${result.error.issues[0]?.message}.`);
    return result.data;
  };
}

/** `--permission <name...>`: whether it grants anything the server says, which knows the channels of CHANNELS_FILE. */
export function permissionOption(description: string): Option {
  const check = checkedBy(permissionsSchema.element);
  return new Option("--permission <name...>", description).argParser((text, before: string[] | undefined) => [
    ...(before ?? []),
    check(text),
  ]);
}

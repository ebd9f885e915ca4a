import { InvalidArgumentError, Option } from "commander";
import type { z } from "zod";
import { permissionsSchema } from "../../bridge/tokens.ts";
import { isKnownPermission } from "../../contract/permissions.ts";
import type { OperatorApi } from "../operator-api.ts";

/** Gives a command the server, or its store; closes that behind it. */
export type WithApi = (use: (api: OperatorApi) => Promise<void>) => Promise<void>;

export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Of an argument or option: what is wrong with it is said before anything is done. */
export function checkedBy<Value>(schema: z.ZodType<Value>): (text: string) => Value {
  return (text) => {
    const result = schema.safeParse(text);
    if (!result.success) throw new InvalidArgumentError(`It ${result.error.issues[0]?.message}.`);
    return result.data;
  };
}

/** `--permission <name...>`: who mistypes one is told before he wonders why it grants nothing. */
export function permissionOption(description: string): Option {
  const check = checkedBy(permissionsSchema.element);
  return new Option("--permission <name...>", description).argParser((text, before: string[] | undefined) => {
    const permission = check(text);
    if (!isKnownPermission(permission))
      process.stderr.write(
        `skylapse: ${JSON.stringify(permission)} grants nothing but what a channel of CHANNELS_FILE asks it for\n`,
      );
    return [...(before ?? []), permission];
  });
}

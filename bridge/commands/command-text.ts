import { z } from "zod";
import { ReplyCode } from "../../contract/codes.ts";
import { type Command, type CommandReply, commandArgs } from "../../contract/commands.ts";
import { counted } from "../../platform/counted.ts";

const deliveredSchema = z.object({ id: z.string() });

/** The arguments stay as the sender wrote them. */
export function commandText({ args, ...rest }: Command, argsText: string | undefined): string {
  return `${JSON.stringify(rest).slice(0, -1)},"args":${argsText ?? JSON.stringify(args)}}`;
}

/** Explains what is wrong with the arguments. Only the camera knows the arguments of commands outside the contract. */
export function argsProblem(name: string, args: Readonly<Record<string, unknown>>): string | undefined {
  const schema = Object.entries(commandArgs).find(([known]) => known === name)?.[1];
  const result = schema?.safeParse(args);
  if (result === undefined || result.success) return undefined;
  return `${name}: ${problemsOf(result.error)}`;
}

export function problemsOf({ issues }: z.ZodError): string {
  return issues.map(({ path, message }) => [...path, message].join(" ")).join("; ");
}

export function idOf(payload: Buffer): string | undefined {
  try {
    return deliveredSchema.safeParse(JSON.parse(payload.toString("utf8"))).data?.id;
  } catch {
    return undefined;
  }
}

export function outcomeOf(status: CommandReply["status"], result: unknown, error: string | undefined) {
  return {
    ...(result === undefined ? {} : { result }),
    ...(error === undefined ? {} : { error }),
    ...(status === "rejected" ? { code: ReplyCode.commandRejected } : {}),
  };
}

export const tooMany = (camera: string) => `too many commands wait for camera ${camera}: try again later`;
export const tooFast = (max: number) => `more than ${counted(max, "command")} in a minute: wait a minute and try again`;

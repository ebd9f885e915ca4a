import { Argument, type Command, Option } from "commander";
import { z } from "zod";
import { SESSION_ID, userIdSchema } from "../../bridge/auth/tokens.ts";
import { type CommandLine, checkedBy, permissionOption, print } from "./command-line.ts";

const tokenSchema = z.object({ token: z.string() });
const lifetimeSchema = z
  .string()
  .regex(/^[1-9]\d{0,9}$/, "must be a whole number of seconds, 1 or more")
  .transform(Number);
const timeSchema = z.iso.datetime({ offset: true, error: "must be a time such as 2026-03-01T06:30:00Z" });
const sessionSchema = z.string().regex(SESSION_ID, "must be the claim sid of a token of an account");

interface Revoked {
  user?: string;
  tokenId?: string;
  session?: string;
  issuedBefore?: string;
}

/** `skylapse token` and `skylapse revoke` */
export function tokenCommands({ program, withApi, shell }: CommandLine): void {
  program
    .command("token")
    .description("print an access token for a program that is not a camera")
    .addArgument(new Argument("<user-id>", "the user of the token").argParser(checkedBy(userIdSchema)))
    .addOption(permissionOption("what the token allows, such as dashboard:read").makeOptionMandatory())
    .addOption(
      new Option(
        "--expires-in <seconds>",
        "how long the token is valid (default and maximum: TOKEN_TTL_SECONDS)",
      ).argParser(checkedBy(lifetimeSchema)),
    )
    .action((id: string, { permission, expiresIn }: { permission: string[]; expiresIn?: number }) =>
      withApi(async (api) => {
        const asked = { user_id: id, permissions: permission, expires_in: expiresIn };
        print(shell, tokenSchema.parse(await api.call("POST", "/auth/token", asked)).token);
      }),
    );
  program
    .command("revoke")
    .description("revoke tokens and end their connections, at all nodes")
    .addOption(new Option("--user <id>", "all tokens of a user").argParser(checkedBy(userIdSchema)))
    .addOption(
      new Option("--token-id <id>", "one token, by its claim jti").conflicts(["user", "session", "issuedBefore"]),
    )
    .addOption(
      new Option("--session <id>", "the tokens of one login, by their claim sid")
        .conflicts(["user", "issuedBefore"])
        .argParser(checkedBy(sessionSchema)),
    )
    .addOption(
      new Option(
        "--issued-before <time>",
        "only tokens issued before this time; without --user those of all users",
      ).argParser(checkedBy(timeSchema)),
    )
    .action(async (options: Revoked, command: Command) => {
      if (Object.keys(options).length === 0)
        command.error("error: nothing to revoke: give --user, --token-id, --session or --issued-before");
      const { user, tokenId, session, issuedBefore } = options;
      const body = { user_id: user, token_id: tokenId, session_id: session, issued_before: issuedBefore };
      await withApi((api) => api.call("POST", "/auth/revoke", body));
    });
}

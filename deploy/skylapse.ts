#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command, CommanderError } from "commander";
import { z } from "zod";
import { DeviceError, type DeviceStore, openDevices } from "../broker/devices.ts";
import { ConfigurationError, readEnvironment } from "../contract/environment.ts";
import { type OperatorApi, operatorApi } from "./operator-api.ts";
import { readPassword } from "./read-password.ts";

/** What the command exits with: 1 it could not do it, 2 the command line is wrong. */
const FAILED = 1;
const USAGE = 2;

const HELP = `
Cameras are kept in DATA_PATH/devices.json; a running server sees a change within a second. Call this as the user that
the server runs as, and with several nodes once for the DATA_PATH of each, with the same --secret.

Users and tokens are asked of a running server with the operator key: OPERATOR_KEY, or the one that the server made in
DATA_PATH. A password is asked for at a terminal, else it is the first line of the standard input.

Exit codes: 0 done, 1 not done, 2 wrong command line.
`;

const SECRETS = ["OPERATOR_KEY"] as const;
const usersSchema = z.object({
  users: z.array(
    z.object({
      user_id: z.string(),
      role: z.string().optional(),
      permissions: z.array(z.string()),
      enabled: z.boolean(),
    }),
  ),
});
const tokenSchema = z.object({ token: z.string() });

const say = (text: string) => process.stdout.write(`${text}\n`);

const program = new Command("skylapse")
  .description("Skylapse Realtime: the server, and who may connect to it.")
  .option("-d, --data-path <folder>", "where the server keeps its data (default: DATA_PATH, or ./data)")
  .option("-u, --url <address>", "where the server is", process.env.SKYLAPSE_URL || "http://127.0.0.1:8082")
  .addHelpText("after", HELP)
  .exitOverride();

program
  .command("up")
  .description("start the server, with the settings of the environment")
  .action(async () => {
    const { dataPath } = program.opts<{ dataPath?: string }>();
    if (dataPath !== undefined) process.env.DATA_PATH = dataPath;
    await import("./start.ts");
  });

program
  .command("check-config")
  .description("say what is wrong with the settings of the environment; writes nothing")
  .action(async () => {
    const { checkBackendConfig } = await import("./backend.ts");
    checkBackendConfig(environment());
    say("the settings are right");
  });

const camera = program.command("camera").description("cameras and what they sign in with");
camera
  .command("list")
  .description("a line for each: id, and since when its secret is good")
  .action(async () => {
    for (const { id, kind, changedAt } of (await devices()).list()) if (kind === "camera") say(`${id}\t${changedAt}`);
  });
camera
  .command("add <id>")
  .description("let a camera in; prints its secret, which is shown this once")
  .option("--secret <text>", "a secret of your own, 32 characters or more")
  .action(async (id: string, { secret }: { secret?: string }) => {
    say((await (await devices()).add({ id, kind: "camera", secret })).secret);
  });
camera
  .command("rotate <id>")
  .description("replace a camera's secret and end its connections; prints the new one")
  .option("--secret <text>", "a secret of your own, 32 characters or more")
  .action(async (id: string, { secret }: { secret?: string }) => {
    say((await (await camerasWith(id)).rotate(id, secret)).secret);
  });
camera
  .command("remove <id>")
  .description("let a camera in no more, and end its connections; what it has sent stays")
  .action(async (id: string) => {
    await (await camerasWith(id)).remove(id);
  });

const user = program.command("user").description("people who log in with a password");
user
  .command("list")
  .description("a line for each: id, role or permissions, and whether it is disabled")
  .action(async () => {
    const { users } = usersSchema.parse(await server().call("GET", "/users"));
    for (const { user_id, role, permissions, enabled } of users)
      say([user_id, role ?? permissions.join(" "), ...(enabled ? [] : ["disabled"])].join("\t"));
  });
user
  .command("add <id>")
  .description("make an account")
  .option("--role <name>", "viewer or admin")
  .option("--permission <name...>", "instead of a role: what the user may do, such as camera:north:read")
  .action(async (id: string, { role, permission }: { role?: string; permission?: string[] }) => {
    const powers = permission === undefined ? { role: role ?? "viewer" } : { permissions: permission, role };
    await server().call("POST", "/users", {
      user_id: id,
      password: await readPassword(`Password of ${id}: `),
      ...powers,
    });
  });
user
  .command("passwd <id>")
  .description("set another password, and end what the user is logged in to")
  .action(async (id: string) => {
    await server().call("PUT", pathOf(id), { password: await readPassword(`New password of ${id}: `) });
  });
user
  .command("remove <id>")
  .description("remove an account, and end what the user is logged in to")
  .action(async (id: string) => {
    await server().call("DELETE", pathOf(id));
  });

program
  .command("token <user-id>")
  .description("print an access token")
  .requiredOption("--permission <name...>", "what its bearer may do, such as dashboard:read")
  .option("--expires-in <seconds>", "how long it is good, at most TOKEN_TTL_SECONDS")
  .action(async (id: string, { permission, expiresIn }: { permission: string[]; expiresIn?: string }) => {
    const life = expiresIn === undefined ? {} : { expires_in: Number(expiresIn) };
    const answer = await server().call("POST", "/auth/token", { user_id: id, permissions: permission, ...life });
    say(tokenSchema.parse(answer).token);
  });

const pathOf = (userId: string) => `/users/${encodeURIComponent(userId)}`;

/** With what the command line says over what the environment says. */
function environment(): NodeJS.ProcessEnv {
  const { dataPath } = program.opts<{ dataPath?: string }>();
  return dataPath === undefined ? process.env : { ...process.env, DATA_PATH: dataPath };
}

/** Of the settings, those that a command needs which is not the server. */
function settings() {
  const schema = z.object({ DATA_PATH: z.string().default("./data"), OPERATOR_KEY: z.string().default("") });
  return readEnvironment(schema, {
    env: environment(),
    readFile: (path) => readFileSync(path, "utf8"),
    secrets: SECRETS,
  });
}

function server(): OperatorApi {
  const { DATA_PATH, OPERATOR_KEY } = settings();
  return operatorApi({ url: program.opts<{ url: string }>().url, key: OPERATOR_KEY, dataPath: DATA_PATH });
}

function devices(): Promise<DeviceStore> {
  return openDevices(join(settings().DATA_PATH, "devices.json"));
}

/** @throws {DeviceError} there is no such camera, though there may be a processing service of that name */
async function camerasWith(id: string): Promise<DeviceStore> {
  const store = await devices();
  if (store.get(id)?.kind !== "camera") throw new DeviceError(`there is no camera "${id}"`);
  return store;
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : USAGE;
  } else {
    const problems = error instanceof ConfigurationError ? error.problems : [messageOf(error)];
    for (const problem of problems) process.stderr.write(`skylapse: ${problem}\n`);
    process.exitCode = FAILED;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

#!/usr/bin/env node
import { join } from "node:path";
import { Command, CommanderError } from "commander";
import { z } from "zod";
import { DeviceError, type DeviceStore, openDevices } from "../broker/devices.ts";
import { ConfigurationError, readEnvironment } from "../contract/environment.ts";

/** What the command exits with: 1 it could not do it, 2 the command line is wrong. */
const FAILED = 1;
const USAGE = 2;

const HELP = `
Cameras are kept in DATA_PATH/devices.json; a running server sees a change within a second. Call this as the user that
the server runs as, and with several nodes once for the DATA_PATH of each, with the same --secret.

Exit codes: 0 done, 1 not done, 2 wrong command line.
`;

const say = (text: string) => process.stdout.write(`${text}\n`);

const program = new Command("skylapse")
  .description("Skylapse Realtime: the server, and who may connect to it as a camera.")
  .option("-d, --data-path <folder>", "where the server keeps its data (default: DATA_PATH, or ./data)")
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

function devices(): Promise<DeviceStore> {
  const { DATA_PATH } = readEnvironment(z.object({ DATA_PATH: z.string().default("./data") }), {
    env: process.env,
    readFile: () => "",
  });
  return openDevices(join(program.opts<{ dataPath?: string }>().dataPath ?? DATA_PATH, "devices.json"));
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

import { readFileSync } from "node:fs";
import { Command, CommanderError, Option } from "commander";
import { z } from "zod";
import { authSettings } from "../bridge/auth/config.ts";
import { httpSettings } from "../bridge/http/config.ts";
import { visible } from "../contract/visible-text.ts";
import { ConfigurationError, defaultOf, readEnvironment } from "../platform/config.ts";
import { serverSettings } from "../platform/server-settings.ts";
import { clockCommands } from "./commands/clock.ts";
import { checkedBy, say, type WithApi } from "./commands/command-line.ts";
import { deviceCommands } from "./commands/devices.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { storeCommands } from "./commands/stores.ts";
import { tokenCommands } from "./commands/tokens.ts";
import { userCommands } from "./commands/users.ts";
import { commandLineSettings } from "./config/config.ts";
import { loadEnvFile } from "./config/env-file.ts";
import { version } from "./config/package.ts";
import { generatedKey, OperatorApiError, serverApi, serverUrl } from "./operator/operator-api.ts";
import { absenceOf, whoAnswers } from "./operator/who-answers.ts";

/** What the command exits with: 1 it could not do it, 2 the command line is wrong. */
const FAILED = 1;
const USAGE = 2;

const HELP = `
Users, cameras, services and tokens are a running server's, which is asked with the operator key: OPERATOR_KEY, or the
one that it made in DATA_PATH. With several nodes any of them will do. While no server runs, and none is named, they are
changed in its store: call this as the user that the server runs as, with its DATA_PATH or REDIS_URL.

A password is asked for at a terminal, else it is the first line of the standard input.

Exit codes: 0 done, 1 not done, 2 wrong command line.
`;

const program = new Command("skylapse")
  .description("Skylapse Realtime: the server, and who may connect to it.")
  .version(version)
  .option("-d, --data-path <folder>", "where the server keeps its data (default: DATA_PATH, or ./data)")
  .addOption(
    new Option("-u, --url <address>", "where the server is (default: SKYLAPSE_URL, or WS_PORT of HOST)").argParser(
      checkedBy(commandLineSettings.SKYLAPSE_URL),
    ),
  )
  .addHelpText("after", HELP)
  // What commander says quotes the command line, which may have been pasted with characters that do not show.
  .configureOutput({ outputError: (text, write) => write(text.split("\n").map(visible).join("\n")) })
  .exitOverride();

program
  .command("up")
  .description("start the server, with the settings of the environment")
  .action(async () => {
    Object.assign(process.env, environment());
    await import("./start.ts");
  });

program
  .command("check-config")
  .description("say what is wrong with the settings of the environment; writes nothing")
  .action(async () => {
    const { checkBackendConfig } = await import("./config/backend-config.ts");
    const { broker, bridge, misspelt } = checkBackendConfig(environment());
    // What the start, or every client, would fail at is wrong, though the settings themselves may be written well.
    if (broker.tls !== undefined) {
      const { checkCertificate } = await import("./doctor/certificate.ts");
      const findings = await checkCertificate(broker.tls, bridge.host, Date.now());
      const wrong = findings.filter(({ verdict }) => verdict === "wrong");
      if (wrong.length > 0) throw new ConfigurationError(wrong.map(({ subject, text }) => `${subject}: ${text}`));
    }
    for (const warning of misspelt) process.stderr.write(`skylapse: ${visible(warning)}\n`);
    say("the settings are right");
  });

const withApi: WithApi = async (use) => {
  const api = await openApi();
  try {
    await use(api);
  } finally {
    await api.close();
  }
};
deviceCommands(program, withApi);
userCommands(program, withApi);
tokenCommands(program, withApi);
clockCommands(program, withApi);
storeCommands(program, environment);
doctorCommand(program, () => ({ env: environment(), key: operatorKey, ...place() }));

/** With what the command line says over what the environment says, and `.env` below both. */
function environment(): NodeJS.ProcessEnv {
  loadEnvFile(process.env);
  const { dataPath } = program.opts<{ dataPath?: string }>();
  return dataPath === undefined ? process.env : { ...process.env, DATA_PATH: dataPath };
}

/** Where a running server is, as the settings say, and its data. */
function place() {
  // A wrong HOST or WS_PORT must not keep doctor from naming it.
  const settings = {
    DATA_PATH: serverSettings.DATA_PATH,
    HOST: z.string().default(String(defaultOf(serverSettings.HOST))),
    WS_PORT: z.string().default(String(defaultOf(httpSettings.WS_PORT))),
    SKYLAPSE_URL: commandLineSettings.SKYLAPSE_URL,
  };
  const { DATA_PATH, HOST, WS_PORT, SKYLAPSE_URL } = readEnvironment(settings, source());
  const named = program.opts<{ url?: string }>().url ?? SKYLAPSE_URL;
  return { dataPath: DATA_PATH, url: named ?? serverUrl(HOST, WS_PORT), isNamed: named !== undefined };
}

function source() {
  return { env: environment(), readFile: (path: string) => readFileSync(path, "utf8") };
}

/** @throws {OperatorApiError} @throws {ConfigurationError} */
function operatorKey(): string {
  const { OPERATOR_KEY } = readEnvironment({ OPERATOR_KEY: authSettings.OPERATOR_KEY }, source());
  const { dataPath, url } = place();
  return OPERATOR_KEY ?? generatedKey(dataPath, url);
}

/** The server; when none runs here, its store. One that is named may be elsewhere, and its store too. */
async function openApi() {
  const { url, isNamed } = place();
  const answer = await whoAnswers(url);
  if (answer.kind === "server") return serverApi({ url, key: operatorKey() });
  if (isNamed || answer.kind !== "nobody") throw new OperatorApiError(absenceOf(answer, url));
  const { openStoreApi } = await import("./operator/store-api.ts");
  process.stderr.write(`skylapse: no server answers at ${url}, so this is done in its store\n`);
  return await openStoreApi(environment());
}

program.hook("preAction", (_program, command) => {
  // A server goes on without a reader. Anything else is not done when what it has to say is not read, as by `head`.
  if (command.name() !== "up") process.stdout.on("error", stopSaying);
});

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : USAGE;
  } else {
    const problems = error instanceof ConfigurationError ? error.problems : [messageOf(error)];
    for (const problem of problems) process.stderr.write(`skylapse: ${visible(problem)}\n`);
    process.exitCode = FAILED;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function stopSaying({ code, message }: Error & { code?: string }): void {
  if (code !== "EPIPE") process.stderr.write(`skylapse: the output cannot be written: ${message}\n`);
  process.exit(FAILED);
}

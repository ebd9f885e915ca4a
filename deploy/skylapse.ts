import { readFileSync } from "node:fs";
import { Command, CommanderError, Option } from "commander";
import { z } from "zod";
import { authSettings } from "../bridge/auth/config.ts";
import { httpSettings } from "../bridge/http/config.ts";
import { visible } from "../contract/visible-text.ts";
import { ConfigurationError, defaultOf, readEnvironment } from "../platform/config.ts";
import { messageOf } from "../platform/errors.ts";
import { serverSettings } from "../platform/server-settings.ts";
import { clockCommands } from "./commands/clock.ts";
import { checkedBy, print, type WithApi } from "./commands/command-line.ts";
import { deviceCommands } from "./commands/devices.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { logLevelCommand } from "./commands/log-level.ts";
import { secretCommands } from "./commands/secrets.ts";
import { storeCommands } from "./commands/stores.ts";
import { tokenCommands } from "./commands/tokens.ts";
import { traceCommand } from "./commands/trace.ts";
import { userCommands } from "./commands/users.ts";
import { commandLineSettings } from "./config/config.ts";
import { loadEnvFile } from "./config/env-file.ts";
import { version } from "./config/package.ts";
import { generatedKey, OperatorApiError, serverApi, serverUrl } from "./operator/operator-api.ts";
import { probeServer, whyNoServer } from "./operator/server-probe.ts";

const [EXIT_FAILED, EXIT_USAGE] = [1, 2];

const HELP = `
The commands for users, cameras, services and tokens ask the running server. They use the operator key: OPERATOR_KEY, or
the key that the server generated in DATA_PATH. With several nodes, any node will do. If no server runs, and neither --url
nor SKYLAPSE_URL is set, the commands change the store of the server: run them as the user that the server runs as, with
its DATA_PATH or REDIS_URL.

A password is read from the terminal, or from the first line of the standard input if there is no terminal.

Exit codes: 0 done, 1 failed, 2 wrong command line.
`;

const program = new Command("skylapse")
  .description("Skylapse Realtime: starts and checks the server, and manages users, cameras and tokens.")
  .version(version)
  .option("-d, --data-path <folder>", "the folder of the server's data (default: DATA_PATH, or ./data)")
  .addOption(
    new Option(
      "-u, --url <address>",
      "the address of the server (default: SKYLAPSE_URL, or HOST and WS_PORT)",
    ).argParser(checkedBy(commandLineSettings.SKYLAPSE_URL)),
  )
  .addHelpText("after", HELP)
  // An error of commander quotes the command line, and pasted text may contain control characters.
  .configureOutput({ outputError: (text, write) => write(text.split("\n").map(visible).join("\n")) })
  .exitOverride();

program
  .command("up")
  .description("start the server with the settings of the environment")
  .action(async () => {
    Object.assign(process.env, environment());
    await import("./start.ts");
  });

program
  .command("check-config")
  .description("check the settings of the environment; writes nothing")
  .action(async () => {
    const { checkBackendConfig } = await import("./config/backend-config.ts");
    const { broker, bridge, misspelt } = checkBackendConfig(environment());
    // A valid setting may name a certificate that is unreadable, or that every client refuses.
    if (broker.tls !== undefined) {
      const { checkCertificate } = await import("./doctor/certificate.ts");
      const findings = await checkCertificate(broker.tls, bridge.host, Date.now());
      const wrong = findings.filter(({ verdict }) => verdict === "wrong");
      if (wrong.length > 0) throw new ConfigurationError(wrong.map(({ subject, text }) => `${subject}: ${text}`));
    }
    for (const warning of misspelt) process.stderr.write(`skylapse: ${visible(warning)}\n`);
    print("the settings are valid");
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
logLevelCommand(program, withApi);
traceCommand(program, withApi);
storeCommands(program, environment);
secretCommands(program, environment);
doctorCommand(program, () => ({ env: environment(), key: operatorKey, ...serverPlace() }));

/** The command line overrides the environment. The environment overrides the file `.env`. */
function environment(): NodeJS.ProcessEnv {
  loadEnvFile(process.env);
  const { dataPath } = program.opts<{ dataPath?: string }>();
  return dataPath === undefined ? process.env : { ...process.env, DATA_PATH: dataPath };
}

function serverPlace() {
  // Accepts invalid values of HOST and WS_PORT, so that `doctor` can report them.
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
  const { dataPath, url } = serverPlace();
  return OPERATOR_KEY ?? generatedKey(dataPath, url);
}

/** Opens the API of the server. If no server runs and no URL was set explicitly, opens the store of the server. */
async function openApi() {
  const { url, isNamed } = serverPlace();
  const answer = await probeServer(url);
  if (answer.kind === "server") return serverApi({ url, key: operatorKey() });
  if (isNamed || answer.kind !== "nothing") throw new OperatorApiError(whyNoServer(answer, url));
  const { openStoreApi } = await import("./operator/store-api.ts");
  process.stderr.write(`skylapse: no server answers at ${url}, so this command uses its store\n`);
  return await openStoreApi(environment());
}

// A command exits if its output is closed, for example by `| head`. A server continues even if nobody reads its output.
process.stdout.on("error", exitOnClosedOutput);
program.hook("preAction", (_program, command) => {
  if (command.name() === "up") process.stdout.off("error", exitOnClosedOutput);
});

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
  } else {
    const problems = error instanceof ConfigurationError ? error.problems : [messageOf(error)];
    for (const problem of problems) process.stderr.write(`skylapse: ${visible(problem)}\n`);
    process.exitCode = EXIT_FAILED;
  }
}

function exitOnClosedOutput({ code, message }: Error & { code?: string }): void {
  if (code !== "EPIPE") process.stderr.write(`skylapse: cannot write the output: ${message}\n`);
  process.exit(EXIT_FAILED);
}

import { readFileSync } from "node:fs";
import { Command, CommanderError, Option } from "commander";
import { z } from "zod";
import { authSettings } from "../../bridge/auth/config.ts";
import { httpSettings } from "../../bridge/http/config.ts";
import { visible } from "../../contract/visible-text.ts";
import { ConfigurationError, defaultOf, readEnvironment } from "../../platform/config.ts";
import { messageOf } from "../../platform/errors.ts";
import { serverSettings } from "../../platform/server-settings.ts";
import { commandLineSettings } from "../config/config.ts";
import { loadEnvFile } from "../config/env-file.ts";
import { version } from "../config/package.ts";
import { generatedKey, OperatorApiError, serverApi, serverUrl } from "../operator/operator-api.ts";
import { probeServer, whyNoServer } from "../operator/server-probe.ts";
import { cameraGroupCommands } from "./camera-groups.ts";
import { clockCommands } from "./clock.ts";
import { type CommandLine, checkedBy, print, type Shell } from "./command-line.ts";
import { deviceCommands } from "./devices.ts";
import { doctorCommand } from "./doctor.ts";
import { integrationCommands } from "./integrations.ts";
import { logLevelCommand } from "./log-level.ts";
import { secretCommands } from "./secrets.ts";
import { storeCommands } from "./stores.ts";
import { tokenCommands } from "./tokens.ts";
import { traceCommand } from "./trace.ts";
import { userCommands } from "./users.ts";

const [EXIT_FAILED, EXIT_USAGE] = [1, 2];

const HELP = `
The commands for users, cameras, services and tokens ask the running server. They use the operator key: OPERATOR_KEY, or
the key that the server generated in DATA_PATH. With several nodes, any node will do. If no server runs, and neither --url
nor SKYLAPSE_URL is set, the commands change the store of the server: run them as the user that the server runs as, with
its DATA_PATH or REDIS_URL.

A password is read from the terminal, or from the first line of the standard input if there is no terminal.

Exit codes: 0 done, 1 failed, 2 wrong command line.
`;

export interface RunOptions extends Shell {
  /** The path of a file with settings. It need not exist. */
  envFile: string;
  /** Starts the server for `skylapse up`. Resolves when the server has started. */
  startServer: (env: NodeJS.ProcessEnv) => Promise<void>;
}

/**
 * Runs the command `skylapse` with these arguments, such as `["camera", "list"]`.
 * @returns the exit code
 */
export async function runSkylapse(
  args: readonly string[],
  { envFile, startServer, ...shell }: RunOptions,
): Promise<number> {
  let exitCode = 0;
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
    .configureOutput({
      writeOut: (text) => shell.stdout.write(text),
      writeErr: (text) => shell.stderr.write(text),
      outputError: (text, write) => write(text.split("\n").map(visible).join("\n")),
    })
    .exitOverride();

  program
    .command("up")
    .description("start the server with the settings of the environment")
    .action(() => startServer(environment()));

  program
    .command("check-config")
    .description("check the settings of the environment; writes nothing")
    .action(async () => {
      const { checkBackendConfig } = await import("../config/backend-config.ts");
      const { broker, bridge, misspelt } = checkBackendConfig(environment());
      // A valid setting may name a certificate that is unreadable, or that every client refuses.
      if (broker.tls !== undefined) {
        const { checkCertificate } = await import("../doctor/certificate.ts");
        const findings = await checkCertificate(broker.tls, bridge.host, Date.now());
        const wrong = findings.filter(({ verdict }) => verdict === "wrong");
        if (wrong.length > 0) throw new ConfigurationError(wrong.map(({ subject, text }) => `${subject}: ${text}`));
      }
      for (const warning of misspelt) shell.stderr.write(`skylapse: ${visible(warning)}\n`);
      print(shell, "the settings are valid");
    });

  const line: CommandLine = {
    ...{ program, environment, shell },
    withApi: async (use) => {
      const api = await openApi();
      try {
        await use(api);
      } finally {
        await api.close();
      }
    },
    fail: () => {
      exitCode = EXIT_FAILED;
    },
  };
  deviceCommands(line);
  cameraGroupCommands(line);
  userCommands(line);
  integrationCommands(line);
  tokenCommands(line);
  clockCommands(line);
  logLevelCommand(line);
  traceCommand(line);
  storeCommands(line);
  secretCommands(line);
  doctorCommand(line, () => ({ env: environment(), key: operatorKey, ...serverPlace() }));

  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) {
      exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
    } else {
      const problems = error instanceof ConfigurationError ? error.problems : [messageOf(error)];
      for (const problem of problems) shell.stderr.write(`skylapse: ${visible(problem)}\n`);
      exitCode = EXIT_FAILED;
    }
  }
  return exitCode;

  /** The command line overrides the environment. The environment overrides the file `.env`. */
  function environment(): NodeJS.ProcessEnv {
    loadEnvFile(shell.env, envFile);
    const { dataPath } = program.opts<{ dataPath?: string }>();
    return dataPath === undefined ? shell.env : { ...shell.env, DATA_PATH: dataPath };
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
    const { openStoreApi } = await import("../operator/store-api.ts");
    shell.stderr.write(`skylapse: no server answers at ${url}, so this command uses its store\n`);
    return await openStoreApi(environment());
  }
}

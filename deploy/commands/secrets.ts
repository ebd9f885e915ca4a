import { Argument } from "commander";
import { readEnvironment } from "../../platform/config.ts";
import { serverSettings } from "../../platform/server-settings.ts";
import { DataPathError, dropPreviousSecrets, rotateSecrets, SECRET_NAMES, type SecretName } from "../config/secrets.ts";
import { type CommandLine, print } from "./command-line.ts";

const HELP = `
The first start generates these secrets in DATA_PATH/secrets.json, unless they are set in the environment:

  jwt-secret    signs tokens; tokens of the previous secrets stay valid until they expire
  operator-key  mints tokens; the previous key is refused after the restart
  simulator     secrets of the simulated cameras and service

Run this as the user of the server, and restart the server afterwards. Accounts, logins and cameras are not affected.
`;
/** Secrets that the environment can set. An environment variable overrides the generated secret. */
const SETTINGS: Partial<Record<SecretName, readonly string[]>> = {
  "jwt-secret": ["JWT_SECRET", "SKYLAPSE_JWT_SECRET", "REALTIME_JWT_SECRET"],
  "operator-key": ["OPERATOR_KEY"],
};

/** `skylapse secrets rotate [name...]` and `skylapse secrets drop-previous` */
export function secretCommands({ program, environment, shell }: CommandLine): void {
  const secrets = program.command("secrets").description("replace the secrets that the server has generated");
  secrets
    .command("rotate")
    .description("generate new secrets for the next start of the server")
    .addArgument(new Argument("[name...]", "what to replace (default: all)").choices(SECRET_NAMES))
    .addHelpText("after", HELP)
    .action((named: SecretName[]) => {
      const env = environment();
      const isSet = (name: SecretName) => settingOf(name, env) !== undefined;
      for (const name of named.filter(isSet))
        throw new DataPathError(
          `${settingOf(name, env)} is set, so the server uses no generated secret: replace the value of the setting`,
        );
      const names = named.length > 0 ? named : SECRET_NAMES.filter((name) => !isSet(name));
      rotateSecrets(dataPathOf(env), names);
      for (const name of named.length > 0 ? [] : SECRET_NAMES.filter(isSet))
        print(shell, `${name}: not replaced, because ${settingOf(name, env)} is set`);
      for (const name of names) print(shell, `${name}: replaced`);
      print(shell, "restart the server: it uses its old secrets until then");
    });
  secrets
    .command("drop-previous")
    .description("remove the previous signing secrets, so that their tokens become invalid")
    .addHelpText("after", "\nRun this when the tokens of the previous secrets have expired: after TOKEN_TTL_SECONDS.\n")
    .action(() => {
      const dropped = dropPreviousSecrets(dataPathOf(environment()));
      print(shell, dropped === 0 ? "there is no previous secret" : `removed ${dropped}: restart the server`);
    });
}

/** @returns the name of the variable that sets the secret */
function settingOf(name: SecretName, env: NodeJS.ProcessEnv): string | undefined {
  return SETTINGS[name]?.flatMap((variable) => [variable, `${variable}_FILE`]).find((variable) => env[variable]);
}

function dataPathOf(env: NodeJS.ProcessEnv): string {
  const settings = { DATA_PATH: serverSettings.DATA_PATH };
  return readEnvironment(settings, { env, readFile: () => "" }).DATA_PATH;
}

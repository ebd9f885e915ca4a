import { Argument, type Command, Option } from "commander";
import { z } from "zod";
import { certificateNameSchema, deviceKindSchema, deviceSecretSchema } from "../../bridge/auth/devices.ts";
import { idSchema } from "../../contract/ids.ts";
import { type OperatorApi, OperatorApiError } from "../operator/operator-api.ts";
import { type CommandLine, checkedBy, print, type Shell } from "./command-line.ts";
import { readLine } from "./read-password.ts";

const KINDS = [
  { command: "camera", kind: "camera", what: "cameras" },
  { command: "service", kind: "processing", what: "processing services" },
] as const;

const deviceSchema = z.object({
  ...{ id: z.string(), kind: deviceKindSchema, changed_at: z.string() },
  certificate_name: z.string().optional(),
});
const devicesSchema = z.object({ devices: z.array(deviceSchema) });
const secretSchema = z.object({ secret: z.string().optional() });

/** The options for the credential. Without any option, the server generates a secret. */
interface Credential {
  secret?: string;
  certificateName?: string;
}

/** `skylapse camera …` and `skylapse service …` */
export function deviceCommands({ program, withApi, shell }: CommandLine): void {
  for (const { command, kind, what } of KINDS) {
    /** Cameras and services share one set of ids, so the id may belong to a device of another kind. */
    const requireDevice = async (api: OperatorApi, id: string) => {
      const device = (await devicesOf(api)).find((device) => device.id === id);
      if (device?.kind !== kind) throw new OperatorApiError(`there is no ${command} "${id}"`);
    };

    const devices = program.command(command).description(`manage ${what} and their credentials`);
    devices
      .command("list")
      .description("print one line for each: id, when its credential was set, and the name of its certificate")
      .action(() =>
        withApi(async (api) => {
          for (const { id, changed_at, certificate_name = [], ...device } of await devicesOf(api))
            if (device.kind === kind) print(shell, [id, changed_at].concat(certificate_name).join("\t"));
        }),
      );
    devices
      .command("add")
      .description(`register a ${command} and print its secret, which is shown only once`)
      .addArgument(idArgument())
      .addOption(secretOption())
      .addOption(certificateOption())
      .action(async (id: string, credential: Credential, called: Command) => {
        const body = await bodyOf(credential, called, shell);
        await withApi(async (api) =>
          printSecret(shell, await api.call("POST", "/devices", { id, kind, ...body }), body),
        );
      });
    devices
      .command("rotate")
      .description(`replace the credential of a ${command} and end its connections; prints a generated secret`)
      .addArgument(idArgument())
      .addOption(secretOption())
      .addOption(certificateOption())
      .action(async (id: string, credential: Credential, called: Command) => {
        const body = await bodyOf(credential, called, shell);
        await withApi(async (api) => {
          await requireDevice(api, id);
          printSecret(shell, await api.call("POST", `/devices/${id}/rotate`, body), body);
        });
      });
    devices
      .command("remove")
      .description(`remove a ${command} and end its connections; the data that it has sent stays`)
      .addArgument(idArgument())
      .action((id: string) =>
        withApi(async (api) => {
          await requireDevice(api, id);
          await api.call("DELETE", `/devices/${id}`);
        }),
      );
  }
}

async function devicesOf(api: OperatorApi) {
  return devicesSchema.parse(await api.call("GET", "/devices")).devices;
}

/** Checks the secret here, because the parser of an option would print the secret in its error. */
async function bodyOf({ secret: given, certificateName }: Credential, called: Command, shell: Shell) {
  const secret = given === "-" ? await readLine(shell.stdin) : given;
  const problem = deviceSecretSchema.optional().safeParse(secret).error?.issues[0]?.message;
  if (problem !== undefined) called.error(`error: the secret ${problem}`);
  return { secret, certificate_name: certificateName };
}

/** Prints only a secret that the server generated. */
function printSecret(shell: Shell, answer: unknown, given: { secret: string | undefined }): void {
  const { secret } = secretSchema.parse(answer);
  if (secret !== undefined && given.secret === undefined) print(shell, secret);
}

function idArgument(): Argument {
  return new Argument("<id>", "the id, such as north").argParser(checkedBy(idSchema));
}

function secretOption(): Option {
  return new Option(
    "--secret <text>",
    "use this secret, at least 32 characters; - reads the first line of the standard input",
  ).conflicts("certificateName");
}

function certificateOption(): Option {
  return new Option(
    "--certificate-name <name>",
    "use a client certificate with this common name instead of a secret (see TLS_CLIENT_CA)",
  ).argParser(checkedBy(certificateNameSchema));
}

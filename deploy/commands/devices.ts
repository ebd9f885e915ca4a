import { Argument, type Command, Option } from "commander";
import { z } from "zod";
import { certificateNameSchema, deviceKindSchema, deviceSecretSchema } from "../../bridge/auth/devices.ts";
import { idSchema } from "../../contract/ids.ts";
import { type OperatorApi, OperatorApiError } from "../operator/operator-api.ts";
import { checkedBy, say, type WithApi } from "./command-line.ts";
import { readLine } from "./read-password.ts";

const KINDS = [
  { command: "camera", kind: "camera", what: "cameras" },
  { command: "service", kind: "processing", what: "processing services" },
] as const;

const devicesSchema = z.object({
  devices: z.array(
    z.object({
      id: z.string(),
      kind: deviceKindSchema,
      certificate_name: z.string().optional(),
      changed_at: z.string(),
    }),
  ),
});
const secretSchema = z.object({ secret: z.string().optional() });

/** By nothing of these: by a secret that is made. */
interface Credential {
  secret?: string;
  certificateName?: string;
}

/** `skylapse camera …` and `skylapse service …` */
export function deviceCommands(program: Command, withApi: WithApi): void {
  for (const { command, kind, what } of KINDS) {
    /** One of the other kind has the same space of ids, and is not meant. */
    const demandOne = async (api: OperatorApi, id: string) => {
      const device = (await devicesOf(api)).find((device) => device.id === id);
      if (device?.kind !== kind) throw new OperatorApiError(`there is no ${command} "${id}"`);
    };

    const devices = program.command(command).description(`${what}, and what they sign in by`);
    devices
      .command("list")
      .description("a line for each: id, since when what it signs in by is good, and its certificate's name")
      .action(() =>
        withApi(async (api) => {
          for (const { id, changed_at, certificate_name = [], ...device } of await devicesOf(api))
            if (device.kind === kind) say([id, changed_at].concat(certificate_name).join("\t"));
        }),
      );
    devices
      .command("add")
      .description(`let a ${command} in; prints its secret, which is shown this once`)
      .addArgument(idArgument())
      .addOption(secretOption())
      .addOption(certificateOption())
      .action(async (id: string, credential: Credential, called: Command) => {
        const body = await bodyOf(credential, called);
        await withApi(async (api) => saySecret(await api.call("POST", "/devices", { id, kind, ...body }), body));
      });
    devices
      .command("rotate")
      .description(`replace what a ${command} signs in by and end its connections; prints a secret that it makes`)
      .addArgument(idArgument())
      .addOption(secretOption())
      .addOption(certificateOption())
      .action(async (id: string, credential: Credential, called: Command) => {
        const body = await bodyOf(credential, called);
        await withApi(async (api) => {
          await demandOne(api, id);
          saySecret(await api.call("POST", `/devices/${id}/rotate`, body), body);
        });
      });
    devices
      .command("remove")
      .description(`let a ${command} in no more, and end its connections; what it has sent stays`)
      .addArgument(idArgument())
      .action((id: string) =>
        withApi(async (api) => {
          await demandOne(api, id);
          await api.call("DELETE", `/devices/${id}`);
        }),
      );
  }
}

async function devicesOf(api: OperatorApi) {
  return devicesSchema.parse(await api.call("GET", "/devices")).devices;
}

/** A secret is checked here, for what the option itself finds wrong is said with the secret in it. */
async function bodyOf({ secret: given, certificateName }: Credential, called: Command) {
  const secret = given === "-" ? await readLine() : given;
  const problem = deviceSecretSchema.optional().safeParse(secret).error?.issues[0]?.message;
  if (problem !== undefined) called.error(`error: the secret ${problem}`);
  return { secret, certificate_name: certificateName };
}

/** One that was made; whoever gave one knows it. */
function saySecret(answer: unknown, given: { secret: string | undefined }): void {
  const { secret } = secretSchema.parse(answer);
  if (secret !== undefined && given.secret === undefined) say(secret);
}

function idArgument(): Argument {
  return new Argument("<id>", "such as north").argParser(checkedBy(idSchema));
}

function secretOption(): Option {
  return new Option(
    "--secret <text>",
    "a secret of your own, 32 characters or more; - takes the first line of the standard input",
  ).conflicts("certificateName");
}

function certificateOption(): Option {
  return new Option(
    "--certificate-name <name>",
    "instead: the common name of its client certificate (TLS_CLIENT_CA)",
  ).argParser(checkedBy(certificateNameSchema));
}

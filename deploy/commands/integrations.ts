import { Argument, Option } from "commander";
import { z } from "zod";
import { idSchema } from "../../contract/ids.ts";
import { type CommandLine, checkedBy, permissionOption, print, roleOption } from "./command-line.ts";

const integrationSchema = z.object({
  ...{ id: z.string(), role: z.string().optional(), permissions: z.array(z.string()) },
  secrets: z.array(z.object({ created_at: z.string(), expires_at: z.string().optional() })),
  last_used_at: z.string().optional(),
});
const integrationsSchema = z.object({ integrations: z.array(integrationSchema) });
const secretSchema = z.object({ secret: z.string() });

interface Access {
  role?: string;
  permission?: string[];
}

/** `skylapse integration …` */
export function integrationCommands({ program, withApi, shell }: CommandLine): void {
  const integration = program
    .command("integration")
    .description("manage programs of others, such as Home Assistant, and their secrets");
  integration
    .command("list")
    .description("print one line for each: id, role or permissions, last use, and the end of a replaced secret")
    .action(() =>
      withApi(async (api) => {
        const { integrations } = integrationsSchema.parse(await api.call("GET", "/integrations"));
        for (const { id, role, permissions, last_used_at, secrets } of integrations) {
          const ends = secrets.flatMap(({ expires_at }) => (expires_at === undefined ? [] : `ends ${expires_at}`));
          print(shell, [id, role ?? permissions.join(" "), last_used_at ?? "never used", ...ends].join("\t"));
        }
      }),
    );
  integration
    .command("add")
    .description("add an integration (default: it may read everything) and print its secret, shown only once")
    .addArgument(idArgument())
    .addOption(roleOption())
    .addOption(permissionsOption())
    .action((id: string, { role, permission }: Access) => {
      const access = permission === undefined ? { role: role ?? "viewer" } : { permissions: permission };
      return withApi(async (api) =>
        print(shell, secretSchema.parse(await api.call("POST", "/integrations", { id, ...access })).secret),
      );
    });
  integration
    .command("set")
    .description("change what an integration may do; takes effect at once")
    .addArgument(idArgument())
    .addOption(roleOption())
    .addOption(permissionsOption())
    .action(async (id: string, { role, permission }: Access, command) => {
      if (role === undefined && permission === undefined)
        command.error("error: nothing to change: give --role or --permission");
      await withApi((api) => api.call("PUT", `/integrations/${id}`, { role, permissions: permission }));
    });
  integration
    .command("rotate")
    .description("print a new secret, shown only once; the previous one stays valid for a day")
    .addArgument(idArgument())
    .addOption(
      new Option("--overlap <seconds>", "how long the previous secret stays valid; 0 ends it at once").argParser(
        checkedBy(z.coerce.number("must be a whole number of seconds").int().min(0)),
      ),
    )
    .action((id: string, { overlap }: { overlap?: number }) =>
      withApi(async (api) => {
        const body = overlap === undefined ? {} : { overlap_seconds: overlap };
        print(shell, secretSchema.parse(await api.call("POST", `/integrations/${id}/rotate`, body)).secret);
      }),
    );
  integration
    .command("remove")
    .description("remove an integration, and end its connections")
    .addArgument(idArgument())
    .action((id: string) => withApi((api) => api.call("DELETE", `/integrations/${id}`)));
}

function idArgument(): Argument {
  return new Argument("<id>", "the id, such as home-assistant").argParser(checkedBy(idSchema));
}

function permissionsOption(): Option {
  return permissionOption("permissions instead of a role, such as camera:read camera:control").conflicts("role");
}

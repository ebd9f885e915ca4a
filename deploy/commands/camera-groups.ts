import { Argument, Option } from "commander";
import { z } from "zod";
import { groupNameSchema } from "../../contract/camera-records.ts";
import { idSchema } from "../../contract/ids.ts";
import { type CommandLine, checkedBy, print } from "./command-line.ts";

const groupsSchema = z.object({
  groups: z.array(z.object({ id: z.string(), name: z.string(), cameras: z.array(z.string()) })),
});

interface Content {
  name?: string;
  camera?: string[];
}

/** `skylapse camera-group …` */
export function cameraGroupCommands({ program, withApi, shell }: CommandLine): void {
  const group = program.command("camera-group").description("manage groups of cameras, which may limit accounts");
  group
    .command("list")
    .description("print one line for each: id, name, and cameras")
    .action(() =>
      withApi(async (api) => {
        for (const { id, name, cameras } of groupsSchema.parse(await api.call("GET", "/camera-groups")).groups)
          print(shell, [id, name, cameras.join(" ")].join("\t"));
      }),
    );
  group
    .command("add")
    .description("make a group (default: its name is its id, and it has no cameras)")
    .addArgument(idArgument())
    .addOption(nameOption())
    .addOption(cameraOption())
    .action((id: string, { name = id, camera = [] }: Content) =>
      withApi((api) => api.call("POST", "/camera-groups", { id, name, cameras: camera })),
    );
  group
    .command("set")
    .description("change the name of a group, or replace its cameras; takes effect at once")
    .addArgument(idArgument())
    .addOption(nameOption())
    .addOption(cameraOption())
    .addOption(new Option("--no-cameras", "take all cameras out of the group").conflicts("camera"))
    .action(async (id: string, { name, camera, cameras }: Content & { cameras: boolean }, command) => {
      const content = cameras ? camera : [];
      if (name === undefined && content === undefined)
        command.error("error: nothing to change: give --name, --camera or --no-cameras");
      await withApi((api) => api.call("PUT", `/camera-groups/${id}`, { name, cameras: content }));
    });
  group
    .command("remove")
    .description("remove a group; refused while accounts are limited to it")
    .addArgument(idArgument())
    .action((id: string) => withApi((api) => api.call("DELETE", `/camera-groups/${id}`)));
}

/** For the commands that limit an account. */
export function cameraGroupOption(): Option {
  return listOption("--camera-group <id...>", "limit the account to the cameras of these groups");
}

function idArgument(): Argument {
  return new Argument("<id>", "the id of the group, such as north-face").argParser(checkedBy(idSchema));
}

function nameOption(): Option {
  return new Option("--name <text>", "the name that people see").argParser(checkedBy(groupNameSchema));
}

function cameraOption(): Option {
  return listOption("--camera <id...>", "the cameras of the group");
}

function listOption(flags: string, description: string): Option {
  const check = checkedBy(idSchema);
  return new Option(flags, description).argParser((text, before: string[] | undefined) => [
    ...(before ?? []),
    check(text),
  ]);
}

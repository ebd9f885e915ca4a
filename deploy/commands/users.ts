import { Argument, type Command, Option } from "commander";
import { z } from "zod";
import { passwordSchema } from "../../bridge/auth/passwords.ts";
import { userIdSchema } from "../../bridge/auth/tokens.ts";
import { visible } from "../../contract/visible-text.ts";
import { cameraGroupOption } from "./camera-groups.ts";
import { type CommandLine, checkedBy, permissionOption, print, roleOption, type Shell } from "./command-line.ts";
import { readPassword } from "./read-password.ts";

const userSchema = z.object({
  ...{ user_id: z.string(), role: z.string().optional() },
  ...{ permissions: z.array(z.string()), enabled: z.boolean() },
  camera_groups: z.array(z.string()).optional(),
});
const usersSchema = z.object({ users: z.array(userSchema) });

interface Access {
  role?: string;
  permission?: string[];
  cameraGroup?: string[];
}

/** `skylapse user …` */
export function userCommands({ program, withApi, shell }: CommandLine): void {
  const user = program.command("user").description("manage the accounts of people who log in with a password");
  user
    .command("list")
    .description(
      "print one line for each account: id, role or permissions, its camera groups, and whether it is disabled",
    )
    .action(() =>
      withApi(async (api) => {
        const { users } = usersSchema.parse(await api.call("GET", "/users"));
        for (const { user_id, role, permissions, camera_groups, enabled } of users) {
          const limit = camera_groups === undefined ? [] : [`only ${camera_groups.join(" ")}`];
          const cells = [user_id, role ?? permissions.join(" "), ...limit, ...(enabled ? [] : ["disabled"])];
          print(shell, cells.map(visible).join("\t"));
        }
      }),
    );
  user
    .command("add")
    .description("add an account (default: with the role viewer)")
    .addArgument(userArgument())
    .addOption(roleOption())
    .addOption(permissionOption("permissions instead of a role, such as camera:north:read").conflicts("role"))
    .addOption(cameraGroupOption())
    .action(async (id: string, { role, permission, cameraGroup }: Access) => {
      const access = permission === undefined ? { role: role ?? "viewer" } : { permissions: permission };
      const password = await newPassword(shell, `Password of ${id}: `);
      await withApi((api) =>
        api.call("POST", "/users", { user_id: id, password, ...access, camera_groups: cameraGroup }),
      );
    });
  user
    .command("set")
    .description("change the role, permissions or camera groups of an account, or disable it; takes effect at once")
    .addArgument(userArgument())
    .addOption(roleOption())
    .addOption(permissionOption("permissions instead of a role, such as camera:north:read").conflicts("role"))
    .addOption(cameraGroupOption())
    .addOption(new Option("--all-cameras", "do not limit the account to camera groups").conflicts("cameraGroup"))
    .addOption(new Option("--disable", "forbid logging in, and end all sessions").conflicts("enable"))
    .option("--enable", "allow logging in again")
    .action(
      async (id: string, options: Access & { allCameras?: true; enable?: true; disable?: true }, command: Command) => {
        const { role, permission, cameraGroup, allCameras, enable, disable } = options;
        if (Object.keys(options).length === 0)
          command.error(
            "error: nothing to change: give --role, --permission, --camera-group, --all-cameras, --disable or --enable",
          );
        const enabled = enable === undefined && disable === undefined ? undefined : enable === true;
        const camera_groups = allCameras === undefined ? cameraGroup : null;
        await withApi((api) => api.call("PUT", pathOf(id), { role, permissions: permission, camera_groups, enabled }));
      },
    );
  user
    .command("passwd")
    .description("set a new password, and end all sessions of the user")
    .addArgument(userArgument())
    .action(async (id: string) => {
      const password = await newPassword(shell, `New password of ${id}: `);
      await withApi((api) => api.call("PUT", pathOf(id), { password }));
    });
  user
    .command("remove")
    .description("remove an account, and end all sessions of the user")
    .addArgument(userArgument())
    .action((id: string) => withApi((api) => api.call("DELETE", pathOf(id))));
}

async function newPassword(shell: Shell, question: string): Promise<string> {
  const password = await readPassword(shell, question);
  const problem = passwordSchema.safeParse(password).error?.issues[0]?.message;
  if (problem !== undefined) throw new Error(`the password ${problem}`);
  return password;
}

const pathOf = (userId: string) => `/users/${encodeURIComponent(userId)}`;

function userArgument(): Argument {
  return new Argument("<id>", "the user id, such as alice").argParser(checkedBy(userIdSchema));
}

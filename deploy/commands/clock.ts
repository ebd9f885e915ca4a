import { z } from "zod";
import { clockJumpSchema } from "../../contract/events.ts";
import { askServer, type CommandLine, print } from "./command-line.ts";

const clockSchema = z.object({
  system: z.string(),
  own: z.string(),
  jump: clockJumpSchema.optional(),
  confirmed: clockJumpSchema.optional(),
});

/** `skylapse clock …`. A jump of the system clock makes no data expire until an operator confirms the jump. */
export function clockCommands({ program, withApi, shell }: CommandLine): void {
  const clock = program
    .command("clock")
    .description(
      "show the clock of the server, which decides when data expires, or confirm a jump of the system clock",
    );
  clock
    .command("show", { isDefault: true })
    .description("show the system clock, the clock of the server, and a jump that is not confirmed")
    .action(() =>
      withApi(async (api) => {
        const { system, own, jump } = clockSchema.parse(await askServer(api, "GET", "/clock"));
        print(shell, `system\t${system}\nserver\t${own}`);
        if (jump !== undefined) print(shell, jump.message);
      }),
    );
  clock
    .command("accept")
    .description(
      "confirm that the system clock is right: the time of the jump has passed, and data that is too old expires",
    )
    .option(
      "--no-time-passed",
      "the clock was only corrected, and no time has passed: nothing expires because of the jump",
    )
    .action(({ timePassed }: { timePassed: boolean }) =>
      withApi(async (api) => {
        const body = { time_passed: timePassed };
        const { confirmed } = clockSchema.parse(await askServer(api, "POST", "/clock/accept", body));
        print(
          shell,
          confirmed === undefined ? "there is no jump to confirm" : `confirmed: ${confirmed.ahead_seconds} s`,
        );
      }),
    );
}

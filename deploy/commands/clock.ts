import type { Command } from "commander";
import { z } from "zod";
import { clockJumpSchema } from "../../contract/events.ts";
import { type OperatorApi, OperatorApiError } from "../operator/operator-api.ts";
import { say, type WithApi } from "./command-line.ts";

const clockSchema = z.object({
  system: z.string(),
  own: z.string(),
  jump: clockJumpSchema.optional(),
  confirmed: clockJumpSchema.optional(),
});

/** `skylapse clock …`: a jump of the system's clock, by which nothing grows old before it is confirmed. */
export function clockCommands(program: Command, withApi: WithApi): void {
  const clock = program.command("clock").description("the server's own clock, by which everything it keeps grows old");
  clock
    .command("show", { isDefault: true })
    .description("the system's clock, the server's own, and a jump that is not confirmed")
    .action(() =>
      withApi(async (api) => {
        const { system, own, jump } = clockSchema.parse(await ask(api, "GET", "/clock"));
        say(`system\t${system}\nserver\t${own}`);
        if (jump !== undefined) say(jump.message);
      }),
    );
  clock
    .command("accept")
    .description(
      "say that the system's clock is right; the time that the machine was off counts, and what is too old goes",
    )
    .option("--no-time-passed", "the clock was only put right: nothing is older than before")
    .action(({ timePassed }: { timePassed: boolean }) =>
      withApi(async (api) => {
        const body = { time_passed: timePassed };
        const { confirmed } = clockSchema.parse(await ask(api, "POST", "/clock/accept", body));
        say(confirmed === undefined ? "there is no jump to confirm" : `confirmed: ${confirmed.ahead_seconds} s`);
      }),
    );
}

/** Of a server that runs: in a store that stands still, no clock does either. */
async function ask(api: OperatorApi, method: "GET" | "POST", path: string, body?: object): Promise<unknown> {
  if (api.isStore === true) throw new OperatorApiError("the clock is a running server's: start it first");
  return await api.call(method, path, body);
}

import { Argument } from "commander";
import { z } from "zod";
import { LOG_LEVELS } from "../../platform/log-levels.ts";
import { askServer, type CommandLine, print } from "./command-line.ts";

const levelSchema = z.object({ level: z.string() });

/** `skylapse log-level [level]`: shows or changes the log level of the running server. */
export function logLevelCommand({ program, withApi, shell }: CommandLine): void {
  program
    .command("log-level")
    .description("show the log level of the running server, or change it until its next start")
    .addArgument(new Argument("[level]", "the lowest level that is logged").choices(LOG_LEVELS))
    .action((level?: string) =>
      withApi(async (api) => {
        const answer =
          level === undefined
            ? await askServer(api, "GET", "/log-level")
            : await askServer(api, "PUT", "/log-level", { level });
        print(shell, levelSchema.parse(answer).level);
      }),
    );
}

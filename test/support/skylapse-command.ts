import { PassThrough, Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { runSkylapse } from "../../deploy/commands/run-skylapse.ts";
import { bundled } from "./bundled.ts";

/** The path of the program as users run it, for tests that must run it as a separate process. */
export const COMMAND = fileURLToPath(new URL("../../deploy/bin/skylapse.js", import.meta.url));

/** The path of the same program in the bundle of the tests, which starts faster. */
export const BUNDLED_COMMAND = bundled("deploy/skylapse.js");

/** The discard port, on which no server listens. */
export const NO_SERVER = { WS_PORT: "9" };

export interface Ran {
  code: number;
  output: string;
  errors: string;
}

/** Runs the command `skylapse` to its end in this process, with the environment `env` and no other variables. */
export async function runCommand(env: Record<string, string>, args: readonly string[], input = ""): Promise<Ran> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const [output, errors] = [text(stdout), text(stderr)];
  const code = await runSkylapse(args, {
    ...{ env: { ...env }, stdin: Readable.from([Buffer.from(input)]), stdout, stderr },
    // Tests must not read a developer's file `.env` in the project's folder.
    envFile: "/dev/null",
    startServer: () => Promise.reject(new Error("only the program itself starts a server")),
  });
  stdout.end();
  stderr.end();
  return { code, output: (await output).trim(), errors: await errors };
}

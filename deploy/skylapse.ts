import { runSkylapse } from "./commands/run-skylapse.ts";

const { env, stdin, stdout, stderr } = process;
stdout.on("error", exitOnClosedOutput);
process.exitCode = await runSkylapse(process.argv.slice(2), {
  ...{ env, stdin, stdout, stderr, envFile: ".env" },
  startServer: async (settings) => {
    Object.assign(env, settings);
    stdout.off("error", exitOnClosedOutput);
    await import("./start.ts");
  },
});

/** A command exits if its output is closed, for example by `| head`. A server continues even if nobody reads its output. */
function exitOnClosedOutput({ code, message }: Error & { code?: string }): void {
  if (code !== "EPIPE") stderr.write(`skylapse: cannot write the output: ${message}\n`);
  process.exit(1);
}

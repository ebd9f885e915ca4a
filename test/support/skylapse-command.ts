import { spawn } from "node:child_process";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

export const COMMAND = fileURLToPath(new URL("../../deploy/bin/skylapse.js", import.meta.url));

/** The discard port, on which no server listens. */
export const NO_SERVER = { WS_PORT: "9" };

export interface Ran {
  code: number | null;
  output: string;
  errors: string;
}

/** Runs the command `skylapse` to its end. Passes only PATH from this environment. */
export async function runCommand(env: Record<string, string>, args: readonly string[], input = ""): Promise<Ran> {
  const child = spawn(process.execPath, [COMMAND, ...args], {
    // Not the project's folder, because a developer may have a file `.env` in it.
    cwd: tmpdir(),
    env: { PATH: process.env.PATH, ...env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  // A command without input may exit before the write.
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  return { code: child.exitCode, output: output.trim(), errors };
}

import { spawn } from "node:child_process";

/** From SIGTERM to SIGKILL. */
const DEFAULT_KILL_AFTER_MS = 2000;
/** From SIGKILL to giving up. A child outside of the process group may keep the output open, or hang in a device. */
const GIVE_UP_AFTER_KILL_MS = 500;
const MAX_STDERR_CHARACTERS = 16 * 1024;
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

type ProgramFailure = "missing" | "timeout" | "failed" | "stopped";

export class ProgramError extends Error {
  override name = "ProgramError";
  readonly failure: ProgramFailure;
  readonly stderr: string;

  constructor(failure: ProgramFailure, message: string, stderr = "") {
    super(message);
    this.failure = failure;
    this.stderr = stderr;
  }
}

export interface ProgramOptions {
  command: string;
  args: readonly string[];
  timeoutMs: number;
  killAfterMs?: number;
  signal?: AbortSignal;
}

/**
 * Runs a program in its own process group: the children of a camera program may hang too.
 * @returns its standard output
 * @throws {ProgramError}
 */
export function runProgram(options: ProgramOptions): Promise<Buffer> {
  const { command, args, timeoutMs, signal, killAfterMs = DEFAULT_KILL_AFTER_MS } = options;
  if (signal?.aborted) return Promise.reject(new ProgramError("stopped", `${command} was stopped`));
  return new Promise((resolve, reject) => {
    // Drivers search the messages for known problems in English.
    const env = { ...process.env, LC_ALL: "C" };
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], detached: true, env });
    const output: Buffer[] = [];
    let bytes = 0;
    let stderr = "";
    let ended: ProgramError | undefined;
    let killTimer: NodeJS.Timeout | undefined;

    const end = (why: ProgramError): void => {
      if (ended !== undefined) return;
      ended = why;
      kill(child.pid, "SIGTERM");
      killTimer = setTimeout(() => {
        kill(child.pid, "SIGKILL");
        killTimer = setTimeout(() => {
          child.stdout.destroy();
          child.stderr.destroy();
          settle();
          reject(why);
        }, GIVE_UP_AFTER_KILL_MS);
      }, killAfterMs);
    };
    const timer = setTimeout(
      () => end(new ProgramError("timeout", `${command} took longer than ${timeoutMs / 1000} s and was ended`)),
      timeoutMs,
    );
    const onAbort = (): void => end(new ProgramError("stopped", `${command} was stopped`));
    signal?.addEventListener("abort", onAbort, { once: true });

    child.stdout.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > MAX_OUTPUT_BYTES)
        end(new ProgramError("failed", `${command} wrote more than ${MAX_OUTPUT_BYTES} bytes and was ended`));
      else output.push(chunk);
    });
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      stderr = (stderr + chunk).slice(-MAX_STDERR_CHARACTERS);
    });
    const settle = (): void => {
      clearTimeout(timer);
      clearTimeout(killTimer);
      signal?.removeEventListener("abort", onAbort);
    };
    child.once("error", (error) => {
      settle();
      const missing = "code" in error && error.code === "ENOENT";
      reject(
        missing
          ? new ProgramError("missing", `${command} is not installed, or not in PATH`)
          : new ProgramError("failed", `${command} cannot be run: ${error.message}`),
      );
    });
    // "exit" may come before the last output.
    child.once("close", (code, killedBy) => {
      settle();
      if (ended !== undefined) {
        kill(child.pid, "SIGKILL");
        reject(ended);
      } else if (code === 0) resolve(Buffer.concat(output));
      else reject(new ProgramError("failed", failureOf(command, code, killedBy, stderr), stderr));
    });
  });
}

function failureOf(command: string, code: number | null, killedBy: string | null, stderr: string): string {
  const how = killedBy === null ? `ended with ${code}` : `was ended by ${killedBy}`;
  const last = stderr.trim().split("\n").at(-1)?.trim();
  return `${command} ${how}${last ? `: ${last.slice(0, 500)}` : ""}`;
}

function kill(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // ESRCH: all have exited.
  }
}

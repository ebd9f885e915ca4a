import { spawn } from "node:child_process";

/** Between SIGTERM and SIGKILL, milliseconds. */
const DEFAULT_KILL_AFTER_MS = 2000;
/** Between SIGKILL and giving up. A child that left the process group may hold the output open, or hang in a device. */
const GIVE_UP_AFTER_KILL_MS = 500;
/** How much of the end of standard error is kept. */
const MAX_STDERR_CHARACTERS = 16 * 1024;
/** A program that writes more to standard output is ended. */
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

/** Why a program delivered no output. */
export type ProgramFailure = "missing" | "timeout" | "failed" | "stopped";

export class ProgramError extends Error {
  override name = "ProgramError";
  readonly failure: ProgramFailure;
  /** The end of the program's standard error. */
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
  /** From SIGTERM to SIGKILL, milliseconds. Default 2,000. */
  killAfterMs?: number;
  /** Ends the program. */
  signal?: AbortSignal;
}

/**
 * Runs a program to its end, in a process group of its own: a camera program that hangs may have children that hang.
 * @returns its standard output
 * @throws {ProgramError} when the program is not installed, takes too long, fails, or is stopped
 */
export function runProgram(options: ProgramOptions): Promise<Buffer> {
  const { command, args, timeoutMs, signal } = options;
  const { killAfterMs = DEFAULT_KILL_AFTER_MS } = options;
  if (signal?.aborted) return Promise.reject(new ProgramError("stopped", `${command} was stopped`));
  return new Promise((resolve, reject) => {
    // English messages, because drivers search them for known problems.
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
    // Not "exit": the last output may not have arrived yet.
    child.once("close", (code, killedBy) => {
      settle();
      if (ended !== undefined) {
        // Children may still be running.
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

/** Sends a signal to the program and its children; does nothing when they have exited. */
function kill(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // ESRCH: all have exited.
  }
}

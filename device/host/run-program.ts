import { spawn } from "node:child_process";

/** Between SIGTERM and SIGKILL, milliseconds. */
const DEFAULT_KILL_AFTER_MS = 2000;
/** SIGKILL reaches neither who has left the program's group and holds its output open, nor who hangs in a device: milliseconds. */
const LEFT_OPEN_MS = 500;
/** What is kept of what a program complains: its end. */
const MAX_ERROR_BYTES = 16 * 1024;
const DEFAULT_MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

/** Why a program gave nothing. */
export type ProgramFailure = "missing" | "timeout" | "failed" | "stopped";

export class ProgramError extends Error {
  override name = "ProgramError";
  readonly failure: ProgramFailure;
  /** The end of what the program said on standard error. */
  readonly complaint: string;

  constructor(failure: ProgramFailure, message: string, complaint = "") {
    super(message);
    this.failure = failure;
    this.complaint = complaint;
  }
}

export interface ProgramOptions {
  command: string;
  args: readonly string[];
  timeoutMs: number;
  /** From SIGTERM to SIGKILL, milliseconds. Default 2,000. */
  killAfterMs?: number;
  /** More on standard output ends the program. Default 64 MiB. */
  maxOutputBytes?: number;
  /** Ends the program. */
  signal?: AbortSignal;
}

/**
 * Runs a program to its end, in a process group of its own: a camera program that hangs may have children that hang.
 * @returns what it wrote to standard output
 * @throws {ProgramError} not installed, too slow, ended with an error, or stopped
 */
export function runProgram(options: ProgramOptions): Promise<Buffer> {
  const { command, args, timeoutMs, signal } = options;
  const { killAfterMs = DEFAULT_KILL_AFTER_MS, maxOutputBytes = DEFAULT_MAX_OUTPUT_BYTES } = options;
  if (signal?.aborted) return Promise.reject(new ProgramError("stopped", `${command} was stopped`));
  return new Promise((resolve, reject) => {
    // In English: what it complains of is looked at.
    const env = { ...process.env, LC_ALL: "C" };
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], detached: true, env });
    const output: Buffer[] = [];
    let bytes = 0;
    let complaint = "";
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
        }, LEFT_OPEN_MS);
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
      if (bytes > maxOutputBytes)
        end(new ProgramError("failed", `${command} wrote more than ${maxOutputBytes} bytes and was ended`));
      else output.push(chunk);
    });
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      complaint = (complaint + chunk).slice(-MAX_ERROR_BYTES);
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
    // Not "exit": what it wrote last may still be on its way.
    child.once("close", (code, killedBy) => {
      settle();
      // Whatever it left behind.
      if (ended !== undefined) kill(child.pid, "SIGKILL");
      if (ended !== undefined) reject(ended);
      else if (code === 0) resolve(Buffer.concat(output));
      else reject(new ProgramError("failed", failureOf(command, code, killedBy, complaint), complaint));
    });
  });
}

function failureOf(command: string, code: number | null, killedBy: string | null, complaint: string): string {
  const how = killedBy === null ? `ended with ${code}` : `was ended by ${killedBy}`;
  const last = complaint.trim().split("\n").at(-1)?.trim();
  return `${command} ${how}${last ? `: ${last.slice(0, 500)}` : ""}`;
}

/** The program and all it started; nothing when they are gone already. */
function kill(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // ESRCH: there is nobody left.
  }
}

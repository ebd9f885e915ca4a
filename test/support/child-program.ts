import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { bundled } from "./bundled.ts";

/** The end of a child's error output that its error message shows, in characters. */
const SHOWN_ERRORS = 4_000;

/** A compiled program of the tests in its own process, which tests can suspend and kill. */
export interface ChildProgram<Sent, Received> {
  process: ChildProcess;
  /** Sends a message. Does not fail when the process has ended: see {@link ChildProgram.ended}. */
  send(message: Sent & object): void;
  onMessage(listener: (message: Received) => void): void;
  /**
   * Resolves when the process has ended and all its messages have arrived. The error contains the exit code or the
   * signal, and the error output.
   */
  ended: Promise<Error>;
  /** Limits the size of every file that the process writes, in bytes, as if the disk were full. */
  setDisk(roomInFile: number | "free"): void;
  kill(): Promise<void>;
}

/**
 * Runs a program that `npm run build` has compiled. Node.js 20 cannot run TypeScript, and compiling at each start takes
 * a second of CPU time.
 * @param path below `test/`, without its extension, such as `broker/redis-node-child`
 * @param argument the program's last argument
 */
export function startChildProgram<Sent, Received>(path: string, argument: string): ChildProgram<Sent, Received> {
  const child = spawn(process.execPath, [bundled(`test/${path}.js`), argument], {
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  let errors = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    errors = (errors + text).slice(-SHOWN_ERRORS);
  });
  const ended = once(child, "close").then(([code, signal]) => {
    return new Error(`${path} ended with ${signal ?? `code ${code}`}:\n${errors || "(no error output)"}`);
  });
  return {
    process: child,
    send: (message) => void child.send(message, () => undefined),
    onMessage: (listener) => child.on("message", listener),
    ended,
    setDisk: (roomInFile) => {
      const limit = roomInFile === "free" ? "unlimited" : String(roomInFile);
      execFileSync("prlimit", ["--pid", String(child.pid), `--fsize=${limit}:`]);
    },
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { PYTHON } from "./programs.ts";

/** The folder of the processing service's Python package. */
export const PROCESSING = fileURLToPath(new URL("../../deploy/examples/processing", import.meta.url));

/** The processing service, in its own process. */
export interface ProcessingService {
  process: ChildProcess;
  /** Lines of the log with this message. */
  logged(message: string): Record<string, unknown>[];
  /** Resolves to the exit code, or to null if a signal ended the service. */
  end(signal: NodeJS.Signals): Promise<number | null>;
}

/** Starts the processing service, which serves its films on a free port. Resolves when the server has accepted it. */
export async function startProcessingService(env: Record<string, string>): Promise<ProcessingService> {
  const child = spawn(PYTHON, ["-m", "skylapse_processing"], {
    cwd: PROCESSING,
    env: { PATH: process.env.PATH, PYTHONDONTWRITEBYTECODE: "1", FILM_PORT: "0", MIN_FREE_BYTES: "0", ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const service: ProcessingService = {
    process: child,
    logged: (message) =>
      output
        .split("\n")
        .filter((line) => line.endsWith("}"))
        .map((line) => JSON.parse(line) as Record<string, unknown>)
        .filter(({ msg }) => msg === message),
    end: async (signal) => {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
      child.kill(signal);
      await once(child, "close");
      return child.exitCode;
    },
  };
  // The server keeps requests for the service only after the service has connected once.
  await new Promise<void>((resolve, reject) => {
    child.stdout.on("data", () => service.logged("connected to the server").length > 0 && resolve());
    child.once("close", () => reject(new Error(`the service ended before it was connected:\n${output}`)));
  });
  return service;
}

import { Writable } from "node:stream";
import pino, { type Logger, type LoggerOptions } from "pino";
import { terminalText } from "../contract/visible-text.ts";
import { LOG_OPTIONS } from "../platform/log-options.ts";
import { plainLines } from "../platform/plain-lines.ts";

/** JSON for programs, text for people. */
export type LogFormat = "json" | "text";

/** @param setting the value of LOG_FORMAT */
export function logFormatOf(setting: LogFormat | "auto"): LogFormat {
  if (setting !== "auto") return setting;
  return process.stdout.isTTY ? "text" : "json";
}

/**
 * Removes the rejected command that ioredis adds to an error. The arguments of the command contain documents: password
 * hashes, sessions, secrets.
 */
export const logSerializers = {
  err(error: Error): object {
    const { command: _, ...shown } = pino.stdSerializers.err(error);
    return shown;
  },
};

/**
 * Opens the log of a program. It goes to the standard output. A new level of the log also applies to its child loggers,
 * which have no level of their own.
 */
export async function openLog({ level, format }: { level: string; format: LogFormat }): Promise<Logger> {
  const options: LoggerOptions = { ...LOG_OPTIONS, level, serializers: logSerializers };
  const output = pino.destination({ dest: 1, sync: true });
  return format === "json" ? pino(options, jsonTo(output)) : pino(options, await textTo(output));
}

interface Output {
  write(text: string): unknown;
}

function jsonTo(output: Output): Output {
  return { write: (line) => output.write(plainLines(line)) };
}

async function textTo(output: Output) {
  const { default: pinoPretty } = await import("pino-pretty");
  const terminal = new Writable({
    write(text, _encoding, done) {
      output.write(terminalText(String(text)));
      done();
    },
  });
  return pinoPretty({ destination: terminal, sync: true });
}

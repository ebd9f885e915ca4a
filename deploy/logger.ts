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

/** A log whose level can be changed while the program runs. */
export interface ProgramLog {
  logger: Logger;
  /** The lowest level that is logged. Setting it changes the loggers of all parts. */
  level: string;
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

/** Opens the log of a program. It goes to the standard output. */
export async function openLog({ level, format }: { level: string; format: LogFormat }): Promise<ProgramLog> {
  const children = new Set<WeakRef<Logger>>();
  let pruneAt = 1_000;
  const options: LoggerOptions = {
    ...LOG_OPTIONS,
    level,
    serializers: logSerializers,
    // A child copies its parent's level when it is created, so a new level must be set at each child.
    onChild(child) {
      children.add(new WeakRef(child));
      if (children.size < pruneAt) return;
      // Every HTTP request has a child logger, which is of no use after the request.
      for (const reference of children) if (reference.deref() === undefined) children.delete(reference);
      pruneAt = Math.max(1_000, 2 * children.size);
    },
  };
  const output = pino.destination({ dest: 1, sync: true });
  const logger = format === "json" ? pino(options, jsonTo(output)) : pino(options, await textTo(output));
  return {
    logger,
    get level() {
      return logger.level;
    },
    set level(next) {
      logger.level = next;
      for (const reference of children) {
        const child = reference.deref();
        if (child !== undefined) child.level = next;
      }
    },
  };
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

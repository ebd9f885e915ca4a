import { Writable } from "node:stream";
import pino, { type Logger } from "pino";
import pinoPretty from "pino-pretty";
import { terminalText } from "../contract/visible-text.ts";
import { plainLines } from "../platform/plain-lines.ts";

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

/** Logs to the standard error: readable lines on a terminal, otherwise JSON. */
export function createLogger(level: string): Logger {
  const stream = pino.destination({ dest: 2, sync: true });
  if (process.stderr.isTTY) {
    const terminal = new Writable({
      write(text, _encoding, done) {
        stream.write(terminalText(String(text)));
        done();
      },
    });
    return pino(
      { level, serializers: logSerializers },
      pinoPretty({ destination: terminal, sync: true, ignore: "pid,hostname" }),
    );
  }
  return pino({ level, serializers: logSerializers }, { write: (line: string) => stream.write(plainLines(line)) });
}

import pino, { type LoggerOptions } from "pino";

/** The form of all log lines: the level as a word, and the time as RFC 3339 with milliseconds. */
export const LOG_OPTIONS: LoggerOptions = {
  base: null,
  timestamp: pino.stdTimeFunctions.isoTime,
  formatters: { level: (label) => ({ level: label }) },
};

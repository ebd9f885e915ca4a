/** The log levels, from `trace`, which logs everything, to `silent`, which logs nothing. */
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;

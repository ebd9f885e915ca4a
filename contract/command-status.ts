// Without zod, because the client library loads this module.

export const COMMAND_STATUSES = [
  "sent",
  "delivered",
  "accepted",
  "succeeded",
  "failed",
  "rejected",
  /** The camera restarted during the command and cannot tell whether the command was carried out. */
  "unknown",
  "timed_out",
  "expired",
] as const;
export type CommandStatus = (typeof COMMAND_STATUSES)[number];

const PROGRESS: ReadonlySet<CommandStatus> = new Set(["sent", "delivered", "accepted"]);

export const FINAL_COMMAND_STATUSES: ReadonlySet<CommandStatus> = new Set(
  COMMAND_STATUSES.filter((status) => !PROGRESS.has(status)),
);

/** Seconds that a command waits for its camera, if the sender does not say. */
export const DEFAULT_COMMAND_EXPIRES_IN = 30;

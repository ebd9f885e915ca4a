import { type Logger, pino } from "pino";

/** The most that waits for a disk that does not take it, bytes; beyond, lines are lost, and the log says so. */
export const MAX_WAITING_BYTES = 1024 * 1024;
/** How long the end may take, milliseconds. */
const STOP_TIMEOUT_MS = 500;

export type AuditAction =
  | "login"
  | "refresh"
  | "logout"
  | "token.mint"
  | "token.revoke"
  | "user.create"
  | "user.update"
  | "user.remove"
  | "connection.close"
  | "command"
  | "broadcast"
  | `device.${string}`;

export interface AuditEntry {
  action: AuditAction;
  /** `user:alice`, `operator`, `local`; of a login, whom it was to be. */
  who: string;
  /** Where from; undefined when it is not known. */
  address: string | undefined;
  /** What it was done to: `user:bob`, `camera:north`, `channel:dashboard`, … Never a secret, a token or a payload. */
  target: string;
  /** `done`, or why not: `refused`, `reused`, … */
  outcome: string;
}

/** Who did what, from where, and what came of it: one line of JSON each, in a stream of its own. */
export interface Audit {
  record(entry: AuditEntry): void;
  /** Writes what waits. Idempotent, bounded in time. */
  stop(): Promise<void>;
}

export interface AuditOptions {
  /** The path of a file, which is appended to and made for its owner alone; or `stdout`. */
  destination: string;
  logger: Logger;
}

/**
 * A line break, or whatever else a name may hold, is written as JSON writes it, so one entry is one line.
 * @throws {Error} the file cannot be opened: naming AUDIT_LOG
 */
export async function openAudit({ destination, logger }: AuditOptions): Promise<Audit> {
  const stream = pino.destination({
    ...(destination === "stdout" ? { dest: 1 } : { dest: destination, mkdir: true, mode: 0o600 }),
    ...{ sync: false, maxLength: MAX_WAITING_BYTES },
  });
  await new Promise<void>((resolve, reject) => {
    stream.once("ready", resolve);
    stream.once("error", (error) =>
      reject(new Error(`AUDIT_LOG: cannot write to ${destination} (${error.message})`, { cause: error })),
    );
  });
  let complained = false;
  const complain = (reason: string) => {
    if (!complained) logger.error({ destination, reason }, "the audit log is not whole: it cannot be written");
    complained = true;
  };
  stream.on("error", (error) => complain(error.message));
  stream.on("drop", () => complain("it is too slow"));
  const lines = pino(
    {
      base: null,
      // Every line is of one level, which says nothing: so it is left out, and the time comes first, without a comma.
      formatters: { level: () => ({}) },
      timestamp: () => `"time":"${new Date().toISOString()}"`,
    },
    stream,
  );
  let stopping: Promise<void> | undefined;
  return {
    record({ action, who, address, target, outcome }) {
      if (stopping === undefined) lines.info({ action, who, address, target, outcome });
    },
    stop() {
      stopping ??= new Promise((resolve) => {
        const timer = setTimeout(resolve, STOP_TIMEOUT_MS);
        stream.once("close", () => {
          clearTimeout(timer);
          resolve();
        });
        stream.end();
      });
      return stopping;
    },
  };
}

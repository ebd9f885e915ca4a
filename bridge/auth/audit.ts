import { renameSync, statSync } from "node:fs";
import { join, parse } from "node:path";
import { type Logger, pino } from "pino";
import { plainLines } from "../../platform/plain-lines.ts";
import type { AuditAction, AuditEntry } from "./audit-entry.ts";
import { Refusals } from "./refusals.ts";

/**
 * The most bytes that wait for a slow or full disk. Further lines are dropped, and the program's log reports the loss.
 */
const MAX_WAITING_BYTES = 1024 * 1024;
/** The longest time that {@link Audit.stop} waits, milliseconds. */
const STOP_TIMEOUT_MS = 500;
const STREAMS: ReadonlyMap<string, number> = new Map([
  ["stdout", 1],
  ["stderr", 2],
]);

/** The audit log: one line of JSON for each action, with who did it, from which address, and the outcome. */
export interface Audit {
  record(entry: AuditEntry): void;
  /**
   * Records a refusal. Anybody can cause refusals, so a flood of refusals is counted instead of written line by line.
   */
  refuse(entry: AuditEntry): void;
  /** Writes the backlog, and waits at most {@link STOP_TIMEOUT_MS}. Idempotent. */
  stop(): Promise<void>;
}

export interface AuditOptions {
  /** `stdout`, `stderr` or the path of a file. Lines are appended; a new file is readable by its owner only. */
  destination: string;
  /**
   * The largest size of a file. A larger file is renamed to `….1` and replaces the previous file of that name. Then a
   * new file is opened. May be `Infinity`.
   */
  maxBytes: number;
  logger: Logger;
}

/**
 * Actions of normal operation, whose rate the clients decide. They have a separate file: while they shared one with
 * logins, 2,400 broadcasts pushed a failed login out of both the current and the previous file.
 */
const TRAFFIC: ReadonlySet<AuditAction> = new Set(["command", "broadcast"]);

/** The path of the file for commands and broadcasts: `audit-traffic.log` beside `audit.log`. */
export function trafficLogOf(destination: string): string {
  const { dir, name, ext } = parse(destination);
  return join(dir, `${name}-traffic${ext}`);
}

/**
 * Opens a file for access (logins, refusals, tokens, accounts, devices), and a file beside it for commands and
 * broadcasts. If the destination is a stream, a pipe or a device, it receives both.
 * @throws {Error} the file for access cannot be opened; the message names AUDIT_LOG
 */
export async function openAudit({ destination, maxBytes, logger }: AuditOptions): Promise<Audit> {
  const security = await openLines({ destination, maxBytes, logger });
  const traffic = security.isFile ? await openTraffic({ destination, maxBytes, logger }, security) : security;
  const record = (entry: AuditEntry) => (TRAFFIC.has(entry.action) ? traffic : security).write(entry);
  // Refused commands and broadcasts are few and concern access, so they are in the first file too.
  const refusals = new Refusals((entry) => security.write(entry));
  let stopping: Promise<unknown> | undefined;
  return {
    record,
    refuse: (entry) => refusals.add(entry),
    async stop() {
      if (stopping === undefined) refusals.stop();
      stopping ??= Promise.all([security.stop(), traffic.stop()]);
      await stopping;
    },
  };
}

/** Where the program may write only one file, commands and broadcasts share the file for access. */
async function openTraffic({ destination, maxBytes, logger }: AuditOptions, security: Lines): Promise<Lines> {
  const trafficLog = trafficLogOf(destination);
  try {
    return await openLines({ destination: trafficLog, maxBytes, logger });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const message = "commands and broadcasts share the audit log: no separate file could be opened";
    logger.warn({ destination: trafficLog, reason }, message);
    return security;
  }
}

interface Lines {
  /** False for a stream, a pipe or a device. */
  isFile: boolean;
  write(entry: AuditEntry): void;
  /** Idempotent. Waits at most {@link STOP_TIMEOUT_MS}. */
  stop(): Promise<void>;
}

/**
 * Opens a destination for entries. Line breaks and other control characters in names are escaped: one entry, one line.
 */
async function openLines({ destination, maxBytes, logger }: AuditOptions): Promise<Lines> {
  const fd = STREAMS.get(destination);
  const stream = pino.destination({
    ...(fd === undefined ? { dest: destination, mkdir: true, mode: 0o600 } : { dest: fd }),
    ...{ sync: false, maxLength: MAX_WAITING_BYTES },
  });
  await new Promise<void>((resolve, reject) => {
    stream.once("ready", resolve);
    stream.once("error", (error) =>
      reject(new Error(`AUDIT_LOG: cannot write to ${destination} (${error.message})`, { cause: error })),
    );
  });
  let stopping: Promise<void> | undefined;
  let failureReported = false;
  const reportFailure = (reason: string) => {
    if (!failureReported) logger.error({ destination, reason }, "audit log incomplete or not writable");
    failureReported = true;
  };
  stream.on("error", (error) => reportFailure(error.message));
  stream.on("drop", () => reportFailure("the destination is too slow: entries were dropped"));
  let file = fd === undefined ? fileAt(destination) : undefined;
  let reopening = false;
  const rotate = (ino: number) => {
    try {
      // Another node or the log rotation of the system may have renamed the file already.
      if (fileAt(destination)?.ino === ino) renameSync(destination, `${destination}.1`);
      reopening = true;
      stream.once("ready", () => {
        reopening = false;
        file = fileAt(destination);
      });
      stream.reopen();
    } catch (error) {
      // The file keeps growing. The next attempt to rename it follows after another `maxBytes`.
      if (file !== undefined) file.size = 0;
      reportFailure(error instanceof Error ? error.message : String(error));
    }
  };
  stream.on("write", (written) => {
    failureReported = false;
    if (file === undefined || reopening || stopping !== undefined) return;
    file.size += written;
    if (file.size >= maxBytes) rotate(file.ino);
  });
  const lines = pino(
    {
      base: null,
      // All lines have the same level, so the level is left out. The time is then the first property: no leading comma.
      formatters: { level: () => ({}) },
      timestamp: () => `"time":"${new Date().toISOString()}"`,
    },
    { write: (line: string) => stream.write(plainLines(line)) },
  );
  return {
    isFile: file !== undefined,
    write({ action, who, address, target, outcome }) {
      if (stopping === undefined) lines.info({ action, who, address, target, outcome });
    },
    stop() {
      stopping ??= new Promise((resolve) => {
        const timer = setTimeout(resolve, STOP_TIMEOUT_MS);
        stream.once("close", () => {
          clearTimeout(timer);
          resolve();
        });
        // pino's stream neither reopens nor ends if `end()` is called while it reopens.
        if (reopening) stream.once("ready", () => stream.end());
        else stream.end();
      });
      return stopping;
    },
  };
}

/** Undefined for a pipe or a device, which cannot be renamed. */
function fileAt(path: string): { size: number; ino: number } | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  return found?.isFile() ? { size: found.size, ino: found.ino } : undefined;
}

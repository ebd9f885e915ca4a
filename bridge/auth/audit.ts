import { renameSync, statSync } from "node:fs";
import { join, parse } from "node:path";
import { type Logger, pino } from "pino";
import { messageOf } from "../../platform/errors.ts";
import { plainLines } from "../../platform/plain-lines.ts";
import type { AuditAction, AuditEntry } from "./audit-entry.ts";
import { type AuditLine, type AuditPage, RecentAudit } from "./recent-audit.ts";
import { Refusals } from "./refusals.ts";

/** The most bytes that wait for a slow or full disk. Further lines are dropped, and the program's log says so. */
const MAX_WAITING_BYTES = 1024 * 1024;
/** The longest wait of {@link Audit.stop}. */
const STOP_TIMEOUT_MS = 500;
const STREAMS: ReadonlyMap<string, number> = new Map(Object.entries({ stdout: 1, stderr: 2 }));

export interface Audit {
  record(entry: AuditEntry): void;
  /** A flood of refusals is counted instead of recorded one by one: see {@link Refusals}. */
  refuse(entry: AuditEntry): void;
  /** The newest lines of one of the two logs that this node wrote, or found in the file at its start. Newest first. */
  recent(log: "access" | "traffic", page: AuditPage): AuditLine[];
  /** Flushes the backlog, within {@link STOP_TIMEOUT_MS}. Idempotent. */
  stop(): Promise<void>;
}

export interface AuditOptions {
  /** `stdout`, `stderr` or the path of a file. Lines are appended. Only the owner may read a new file. */
  destination: string;
  /** A larger file is renamed to `….1`, which replaces the previous file of that name. May be `Infinity`. */
  maxBytes: number;
  logger: Logger;
}

/**
 * Clients decide the rate of these actions, so these have their own file: when logins shared it, 2,400 broadcasts
 * pushed a failed login out of both the current and the previous file.
 */
const TRAFFIC: ReadonlySet<AuditAction> = new Set([
  ...(["command", "broadcast", "alert.acknowledge", "alert.mute", "alert.unmute"] as const),
]);

/** `audit-traffic.log` for `audit.log`. */
export function trafficLogOf(destination: string): string {
  const { dir, name, ext } = parse(destination);
  return join(dir, `${name}-traffic${ext}`);
}

/**
 * Opens a file for access (logins, refusals, tokens, accounts, devices), and beside it a file for commands,
 * broadcasts and what people note about alerts. A stream, a pipe or a device receives both kinds of entries.
 * @throws {Error} the file for access cannot be opened; the message names AUDIT_LOG
 */
export async function openAudit({ destination, maxBytes, logger }: AuditOptions): Promise<Audit> {
  const security = await openLines({ destination, maxBytes, logger });
  const traffic = security.isFile ? await openTraffic({ destination, maxBytes, logger }, security) : security;
  const recent = { access: security.recent, traffic: traffic.recent };
  const record = (entry: AuditEntry) => (TRAFFIC.has(entry.action) ? traffic : security).write(entry);
  // Refusals of commands and broadcasts also go to the file for access: they are few and concern access.
  const refusals = new Refusals((entry) => security.write(entry));
  let stopping: Promise<unknown> | undefined;
  return {
    record,
    refuse: (entry) => refusals.add(entry),
    recent: (log, page) => recent[log].page(page),
    async stop() {
      if (stopping === undefined) refusals.stop();
      stopping ??= Promise.all([security.stop(), traffic.stop()]);
      await stopping;
    },
  };
}

/** If the program may write only one file, that file gets commands and broadcasts, too. */
async function openTraffic({ destination, maxBytes, logger }: AuditOptions, security: Lines): Promise<Lines> {
  const trafficLog = trafficLogOf(destination);
  try {
    return await openLines({ destination: trafficLog, maxBytes, logger });
  } catch (error) {
    const message = "commands and broadcasts share the audit log: no separate file could be opened";
    logger.warn({ destination: trafficLog, reason: messageOf(error) }, message);
    return security;
  }
}

interface Lines {
  /** False for a stream, a pipe or a device. */
  isFile: boolean;
  recent: RecentAudit;
  write(entry: AuditEntry): void;
  stop(): Promise<void>;
}

/** Escapes line breaks and other control characters in names: one entry, one line. */
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
  const recent = new RecentAudit();
  if (fd === undefined) for (const path of [`${destination}.1`, destination]) recent.load(path);
  let file = fd === undefined ? fileAt(destination) : undefined;
  let reopening = false;
  const rotate = (ino: number) => {
    try {
      // Another node or the system's log rotation may have renamed the file already.
      if (fileAt(destination)?.ino === ino) renameSync(destination, `${destination}.1`);
      reopening = true;
      stream.once("ready", () => {
        reopening = false;
        file = fileAt(destination);
      });
      stream.reopen();
    } catch (error) {
      // The next attempt to rename the file follows after another `maxBytes`.
      if (file !== undefined) file.size = 0;
      reportFailure(messageOf(error));
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
      // All lines have the same level. Without the level, `time` comes first and needs no leading comma.
      formatters: { level: () => ({}) },
      timestamp: () => `"time":"${new Date().toISOString()}"`,
    },
    {
      write: (line: string) => {
        const plain = plainLines(line);
        recent.add(plain);
        stream.write(plain);
      },
    },
  );
  return {
    isFile: file !== undefined,
    recent,
    write({ action, who, address, target, outcome }) {
      if (stopping === undefined) lines.info({ action, who, address, target, outcome });
    },
    stop() {
      stopping ??= new Promise((resolve) => {
        const timer = setTimeout(resolve, STOP_TIMEOUT_MS);
        stream.once("close", resolve).once("close", () => clearTimeout(timer));
        // pino's stream neither reopens nor ends if `end()` is called while it reopens.
        if (reopening) stream.once("ready", () => stream.end());
        else stream.end();
      });
      return stopping;
    },
  };
}

/** Undefined for a pipe or a device: it cannot be renamed. */
function fileAt(path: string): { size: number; ino: number } | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  return found?.isFile() ? { size: found.size, ino: found.ino } : undefined;
}

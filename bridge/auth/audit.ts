import { renameSync, statSync } from "node:fs";
import { join, parse } from "node:path";
import { type Logger, pino } from "pino";
import { plainLines } from "../../platform/plain-lines.ts";
import type { AuditAction, AuditEntry } from "./audit-entry.ts";
import { Refusals } from "./refusals.ts";

/** The most that waits for a disk that does not take it, bytes; beyond, lines are lost, and the log says so. */
export const MAX_WAITING_BYTES = 1024 * 1024;
/** How long the end may take, milliseconds. */
const STOP_TIMEOUT_MS = 500;
const STREAMS: ReadonlyMap<string, number> = new Map([
  ["stdout", 1],
  ["stderr", 2],
]);

/** Who did what, from where, and what came of it: one line of JSON each, in a stream of its own. */
export interface Audit {
  record(entry: AuditEntry): void;
  /** The same for what was refused, which anybody can cause: of a flood, how many there were is written. */
  refuse(entry: AuditEntry): void;
  /** Writes what waits. Idempotent, bounded in time. */
  stop(): Promise<void>;
}

export interface AuditOptions {
  /** The path of a file, which is appended to and made for its owner alone; or `stdout` or `stderr`. */
  destination: string;
  /** A file that has more becomes `….1`, in the place of the one before, and another is begun. May be `Infinity`. */
  maxBytes: number;
  logger: Logger;
}

/**
 * What happens in the course of things and at the rate of its senders. It has a file of its own: in one file 2,400
 * broadcasts pushed a failed login out of that and of the one before it.
 */
const TRAFFIC: ReadonlySet<AuditAction> = new Set(["command", "broadcast"]);

/** Where commands and broadcasts are written: beside `audit.log`, `audit-traffic.log`. */
export function trafficLogOf(destination: string): string {
  const { dir, name, ext } = parse(destination);
  return join(dir, `${name}-traffic${ext}`);
}

/**
 * Opens a file for what concerns access (logins, refusals, tokens, accounts, devices) and one beside it for commands
 * and broadcasts. A stream, a pipe or a device takes both.
 * @throws {Error} a file cannot be opened: naming AUDIT_LOG
 */
export async function openAudit({ destination, maxBytes, logger }: AuditOptions): Promise<Audit> {
  const security = await openLines({ destination, maxBytes, logger });
  const traffic = security.isFile ? await openTraffic({ destination, maxBytes, logger }, security) : security;
  const record = (entry: AuditEntry) => (TRAFFIC.has(entry.action) ? traffic : security).write(entry);
  // Refused commands and broadcasts are few, and about access.
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

/** An installation may let the program write one file and nothing beside it: then that file takes all. */
async function openTraffic({ destination, maxBytes, logger }: AuditOptions, security: Lines): Promise<Lines> {
  const beside = trafficLogOf(destination);
  try {
    return await openLines({ destination: beside, maxBytes, logger });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    logger.warn({ destination: beside, reason }, "commands and broadcasts share the audit log: no file beside it");
    return security;
  }
}

interface Lines {
  /** False for a stream, a pipe or a device. */
  isFile: boolean;
  write(entry: AuditEntry): void;
  /** Idempotent, bounded in time. */
  stop(): Promise<void>;
}

/** A line break, or whatever else a name may hold, is written as JSON may write it, so one entry is one line. */
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
  let complained = false;
  const complain = (reason: string) => {
    if (!complained) logger.error({ destination, reason }, "the audit log is not whole: it cannot be written");
    complained = true;
  };
  stream.on("error", (error) => complain(error.message));
  stream.on("drop", () => complain("it is too slow"));
  let file = fd === undefined ? fileAt(destination) : undefined;
  let reopening = false;
  const moveAway = (ino: number) => {
    try {
      // Another node, or the system's own log rotation, may have moved it already.
      if (fileAt(destination)?.ino === ino) renameSync(destination, `${destination}.1`);
      reopening = true;
      stream.once("ready", () => {
        reopening = false;
        file = fileAt(destination);
      });
      stream.reopen();
    } catch (error) {
      // It grows on, and this is tried again when it has grown by as much.
      if (file !== undefined) file.size = 0;
      complain(error instanceof Error ? error.message : String(error));
    }
  };
  stream.on("write", (written) => {
    complained = false;
    if (file === undefined || reopening || stopping !== undefined) return;
    file.size += written;
    if (file.size >= maxBytes) moveAway(file.ino);
  });
  const lines = pino(
    {
      base: null,
      // Every line is of one level, which says nothing: so it is left out, and the time comes first, without a comma.
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
        // Told to end before it has opened the next file, it would do neither.
        if (reopening) stream.once("ready", () => stream.end());
        else stream.end();
      });
      return stopping;
    },
  };
}

/** Undefined for a pipe or a device, which cannot be moved away. */
function fileAt(path: string): { size: number; ino: number } | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  return found?.isFile() ? { size: found.size, ino: found.ino } : undefined;
}

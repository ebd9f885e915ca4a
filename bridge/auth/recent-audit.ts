import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { z } from "zod";

/** The most lines that a node keeps in memory for `GET /audit`, of each of the two audit logs. */
export const MAX_RECENT_LINES = 1_000;
/** Bytes of the end of an audit log that are read at the start: more than {@link MAX_RECENT_LINES} usual lines. */
const MAX_READ_BYTES = 512 * 1024;
/** Characters. Longer texts are cut off: only a token with many permissions has such a text. */
const MAX_TEXT_LENGTH = 500;

const text = z.string().transform((given) => given.slice(0, MAX_TEXT_LENGTH));
const lineSchema = z.object({
  time: z.string(),
  ...{ action: text, who: text, address: text.optional(), target: text, outcome: text },
});

/** A line of an audit log. */
export interface AuditLine extends z.output<typeof lineSchema> {
  /** Unique over all nodes, and ordered by time. Two nodes that share a file give a line the same id. */
  id: string;
}

export interface AuditPage {
  /** The largest number of lines. */
  limit: number;
  /** Only lines older than the line with this id. Default: the newest lines. */
  before?: string | undefined;
}

/** The newest lines of an audit log, oldest first. */
export class RecentAudit {
  #lines: string[] = [];

  add(line: string): void {
    this.#lines.push(line.trimEnd());
    // Halving the list now and then costs less than removing the oldest line each time.
    if (this.#lines.length >= 2 * MAX_RECENT_LINES) this.#lines = this.#lines.slice(-MAX_RECENT_LINES);
  }

  /** Reads the end of a file that an earlier run wrote. A file that cannot be read is skipped. */
  load(path: string): void {
    for (const line of endOfFile(path).split("\n")) if (line.startsWith("{")) this.add(line);
  }

  /** Newest first. */
  page({ limit, before }: AuditPage): AuditLine[] {
    const lines = this.#lines.slice(-MAX_RECENT_LINES).flatMap((line) => parsed(line) ?? []);
    return newestFirst(lines, { limit, before });
  }
}

/** The newest of the lines, without duplicates. */
export function newestFirst(lines: readonly AuditLine[], { limit, before }: AuditPage): AuditLine[] {
  const byId = new Map(lines.map((line) => [line.id, line]));
  return [...byId.values()]
    .filter(({ id }) => before === undefined || id < before)
    .sort((one, other) => (one.id < other.id ? 1 : -1))
    .slice(0, limit);
}

function parsed(line: string): AuditLine | undefined {
  try {
    const read = lineSchema.safeParse(JSON.parse(line)).data;
    const hash = createHash("sha256").update(line).digest("hex").slice(0, 16);
    return read && { id: `${read.time}-${hash}`, ...read };
  } catch {
    // A line that a crash cut off.
    return undefined;
  }
}

function endOfFile(path: string): string {
  let file: number | undefined;
  try {
    file = openSync(path, "r");
    const { size } = fstatSync(file);
    const from = Math.max(0, size - MAX_READ_BYTES);
    const buffer = Buffer.alloc(size - from);
    const bytes = readSync(file, buffer, 0, buffer.length, from);
    // The first line of a part of the file is not complete. It begins with `{` only by chance, and is not JSON then.
    return buffer.toString("utf8", 0, bytes);
  } catch {
    return "";
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

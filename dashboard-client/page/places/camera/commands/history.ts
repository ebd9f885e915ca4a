/** One command with what is known about it, from the events of `GET /commands`. */
export interface PastCommand {
  id: string;
  name: string;
  /** Who issued it, such as `user:alice`. Undefined if only the reply is known. */
  by: string | undefined;
  /** RFC 3339. */
  at: string;
  /** The last known status; undefined before the first one. */
  status: string | undefined;
  error: string | undefined;
  code: number | undefined;
}

export interface HistoryPage {
  events: unknown[];
  next: string | undefined;
}

/** @throws TypeError the answer is not that of `GET /commands` */
export function readPage(answer: unknown): HistoryPage {
  const { events, next } = Object(answer) as { events?: unknown; next?: unknown };
  if (!Array.isArray(events)) throw new TypeError("GET /commands has no list of events");
  return { events, next: typeof next === "string" ? next : undefined };
}

/** Joins commands with their replies. @param events newest first */
export function pastCommands(events: readonly unknown[]): PastCommand[] {
  const commands = new Map<string, PastCommand>();
  // Oldest first, so that a later status replaces an earlier one.
  for (const event of [...events].reverse()) {
    const { topic, data, timestamp } = membersOf(event);
    const { id, command_id, status, error, code, issued_by } = membersOf(data);
    const name = typeof topic === "string" ? (topic.split("/").at(-1) ?? "") : "";
    const key = typeof command_id === "string" ? command_id : id;
    if (typeof key !== "string" || typeof timestamp !== "string") continue;
    const before = commands.get(key);
    commands.set(key, {
      id: key,
      name: before?.name ?? name,
      by: textIn(issued_by) ?? before?.by,
      at: before?.at ?? timestamp,
      status: textIn(status) ?? before?.status,
      error: textIn(error) ?? before?.error,
      code: typeof code === "number" ? code : before?.code,
    });
  }
  return [...commands.values()].reverse();
}

function membersOf(value: unknown): Record<string, unknown> {
  return Object(value) as Record<string, unknown>;
}

function textIn(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

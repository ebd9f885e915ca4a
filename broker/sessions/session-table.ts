import { Counts } from "../../platform/counts.ts";
import type { SessionCursor } from "./session-cursor.ts";
import type { LogSession } from "./session-record.ts";

/** The sessions in memory: by key, by cursor, and their number for each identity. */
export class SessionTable {
  readonly #sessions = new Map<string, LogSession>();
  readonly #ofCursor = new Map<SessionCursor, LogSession>();
  readonly #counts = new Counts();

  get size(): number {
    return this.#sessions.size;
  }

  get(key: string): LogSession | undefined {
    return this.#sessions.get(key);
  }

  /** Undefined when the session has another cursor now, or has ended. */
  of(cursor: SessionCursor): LogSession | undefined {
    return this.#ofCursor.get(cursor);
  }

  countOf(identity: string): number {
    return this.#counts.of(identity);
  }

  values(): IterableIterator<LogSession> {
    return this.#sessions.values();
  }

  add(session: LogSession): void {
    this.#sessions.set(session.key, session);
    this.#ofCursor.set(session.cursor, session);
    this.#counts.add(session.owner.identity);
  }

  delete(session: LogSession): void {
    this.#sessions.delete(session.key);
    this.#counts.subtract(session.owner.identity);
    this.detach(session);
  }

  /** The session's cursor has no effect any more. */
  detach(session: LogSession): void {
    this.#ofCursor.delete(session.cursor);
  }
}

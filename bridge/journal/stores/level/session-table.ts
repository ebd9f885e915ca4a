import type { JournalLimits } from "../../core/limits.ts";

export type SessionLimits = Pick<JournalLimits, "maxSessions" | "maxSessionsPerSender">;

/**
 * A bounded table of sessions by sender. A sender with too many sessions loses its least recently used ones. When the
 * table is full, the sender with the most sessions loses one; among equals, the sender that reached the number first.
 * So a sender with many sessions evicts only its own: of n senders, each can keep `maxSessions / n` sessions.
 */
export class SessionTable<Session> {
  readonly #limits: SessionLimits;
  /** Sessions by sender and name. The least recently used session of a sender comes first. */
  readonly #senders = new Map<string, Map<string, Session>>();
  /** The index is a number of sessions; the set has the senders with that number, in the order of reaching it. */
  readonly #bySize: Set<string>[] = [];
  #size = 0;
  #isTrimmed = true;

  constructor(limits: SessionLimits) {
    this.#limits = limits;
  }

  get(sender: string, name: string): Session | undefined {
    return this.#senders.get(sender)?.get(name);
  }

  keep(sender: string, name: string, session: Session): void {
    const sessions = this.#senders.get(sender) ?? new Map<string, Session>();
    const isNew = !sessions.delete(name);
    this.#senders.set(sender, sessions.set(name, session));
    if (!isNew) return;
    this.#resized(sender, sessions.size - 1, sessions.size);
    this.#isTrimmed = false;
  }

  /** Removes and returns the sessions that exceed the limits. */
  trim(): readonly Session[] {
    if (this.#isTrimmed) return NO_SESSIONS;
    this.#isTrimmed = true;
    const { maxSessions, maxSessionsPerSender } = this.#limits;
    const evicted: Session[] = [];
    for (;;) {
      const [sender, size] = this.#largest();
      const excess = Math.max(size - maxSessionsPerSender, this.#size > maxSessions ? 1 : 0);
      if (excess <= 0) return evicted;
      this.#evictOldest(sender, excess, evicted);
    }
  }

  delete(sender: string, name: string): void {
    const sessions = this.#senders.get(sender);
    if (sessions?.delete(name)) this.#resized(sender, sessions.size + 1, sessions.size);
  }

  #evictOldest(sender: string, count: number, evicted: Session[]): void {
    const sessions = this.#senders.get(sender) ?? new Map<string, Session>();
    const before = sessions.size;
    for (const [name, session] of sessions) {
      if (sessions.size === before - count) break;
      evicted.push(session);
      sessions.delete(name);
    }
    this.#resized(sender, before, sessions.size);
  }

  #largest(): [sender: string, size: number] {
    while (this.#bySize.length > 0) {
      const size = this.#bySize.length - 1;
      for (const sender of this.#bySize[size] ?? []) return [sender, size];
      this.#bySize.pop();
    }
    return ["", 0];
  }

  #resized(sender: string, from: number, to: number): void {
    this.#size += to - from;
    this.#bySize[from]?.delete(sender);
    if (to === 0) {
      this.#senders.delete(sender);
      return;
    }
    const equals = this.#bySize[to] ?? new Set();
    this.#bySize[to] = equals.add(sender);
  }
}

const NO_SESSIONS: readonly never[] = [];

export interface SessionLimits {
  maxSessions: number;
  maxSessionsPerSender: number;
}

/**
 * Sessions by sender, bounded. A sender with too many loses those least recently used; with too many of all, whoever has
 * the most does, and of several who has had as many for the longest. So a sender that names session after session harms
 * itself alone: among n senders each keeps `maxSessions / n`, whatever the others do.
 */
export class SessionTable<Session> {
  readonly #limits: SessionLimits;
  /** Of each sender the least recently used first. */
  readonly #senders = new Map<string, Map<string, Session>>();
  /** Senders by how many sessions they have; of those with as many, who has had them for the longest first. */
  readonly #bySize: Set<string>[] = [];
  #size = 0;
  #isTrimmed = true;

  constructor(limits: SessionLimits) {
    this.#limits = limits;
  }

  get(sender: string, name: string): Session | undefined {
    return this.#senders.get(sender)?.get(name);
  }

  /** Makes the session its sender's most recently used one. */
  keep(sender: string, name: string, session: Session): void {
    let sessions = this.#senders.get(sender);
    if (sessions === undefined) {
      sessions = new Map();
      this.#senders.set(sender, sessions);
    }
    const isNew = !sessions.delete(name);
    sessions.set(name, session);
    if (!isNew) return;
    this.#resized(sender, sessions.size - 1, sessions.size);
    this.#isTrimmed = false;
  }

  /** @returns what was too much and is forgotten */
  trim(): readonly Session[] {
    if (this.#isTrimmed) return NOTHING;
    this.#isTrimmed = true;
    const { maxSessions, maxSessionsPerSender } = this.#limits;
    const forgotten: Session[] = [];
    for (;;) {
      const [sender, size] = this.#largest();
      const excess = Math.max(size - maxSessionsPerSender, this.#size > maxSessions ? 1 : 0);
      if (excess <= 0) return forgotten;
      this.#forgetOldest(sender, excess, forgotten);
    }
  }

  delete(sender: string, name: string): void {
    const sessions = this.#senders.get(sender);
    if (sessions?.delete(name)) this.#resized(sender, sessions.size + 1, sessions.size);
  }

  #forgetOldest(sender: string, count: number, forgotten: Session[]): void {
    const sessions = this.#senders.get(sender) ?? new Map<string, Session>();
    const before = sessions.size;
    for (const [name, session] of sessions) {
      if (sessions.size === before - count) break;
      forgotten.push(session);
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

const NOTHING: readonly never[] = [];

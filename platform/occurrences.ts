import type { LimitedLog, WriteLine } from "./limited-log.ts";

/** Names kept at once: anybody can send a new name with each request. */
const MAX_NAMES = 20;
/** A name that has not occurred for this long may be replaced. */
const KEPT_MS = 3_600_000;
const OTHERS = "others";

interface Occurrence {
  times: number;
  /** RFC 3339. */
  last_seen: string;
}

/** Counts and logs occurrences by name, for an operator. Names beyond {@link MAX_NAMES} are counted together. */
export class Occurrences {
  readonly #log: LimitedLog;
  readonly #byName = new Map<string, Occurrence & { at: number }>();

  constructor(log: LimitedLog) {
    this.#log = log;
  }

  note(name: string, write: WriteLine): void {
    const key = this.#keyOf(name);
    const times = (this.#byName.get(key)?.times ?? 0) + 1;
    // Moves the key behind the keys that occurred earlier.
    this.#byName.delete(key);
    this.#byName.set(key, { times, last_seen: new Date().toISOString(), at: performance.now() });
    this.#log.note(key, write);
  }

  list(): ({ name: string } & Occurrence)[] {
    return [...this.#byName].map(([name, { times, last_seen }]) => ({ name, times, last_seen }));
  }

  #keyOf(name: string): string {
    if (this.#byName.has(name) || this.#byName.size < MAX_NAMES) return name;
    const [oldest] = this.#byName;
    if (oldest === undefined || performance.now() - oldest[1].at < KEPT_MS) return OTHERS;
    this.#byName.delete(oldest[0]);
    return name;
  }
}

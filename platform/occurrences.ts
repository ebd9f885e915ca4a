import type { LimitedLog, WriteLine } from "./limited-log.ts";

/** The most names that are kept at once: anybody can send a new name with each request. */
const MAX_NAMES = 20;
/** Milliseconds. A name that has not occurred for this long may be replaced by a new one. */
const KEPT_MS = 3_600_000;
const OTHERS = "others";

interface Occurrence {
  times: number;
  /** RFC 3339. */
  last_seen: string;
}

/**
 * Counts occurrences that an operator should know of. For each name, keeps their number and the time of the last one.
 * The first occurrence of a name is logged at once, later ones with one line in each interval. Names beyond
 * {@link MAX_NAMES} are counted together.
 */
export class Occurrences {
  readonly #log: LimitedLog;
  readonly #byName = new Map<string, Occurrence & { at: number }>();

  constructor(log: LimitedLog) {
    this.#log = log;
  }

  note(name: string, write: WriteLine): void {
    const key = this.#keyOf(name);
    const times = (this.#byName.get(key)?.times ?? 0) + 1;
    // Moves the key to the end, so that the first key is the one that has not occurred for the longest time.
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

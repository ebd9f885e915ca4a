import type { LimitedLog, WriteLine } from "./limited-log.ts";

/** Names that are known at once. Anybody can send another one with each request. */
const MAX_NAMES = 20;
/** For so long, milliseconds, a name keeps its place from others. */
const KEPT_MS = 3_600_000;
const OTHERS = "others";

interface Sighting {
  times: number;
  /** RFC 3339. */
  last_seen: string;
}

/**
 * Something that an operator should know of, by name: how often it was seen, and when last. The log has the first of each
 * name, and a line a minute while it goes on; of more than {@link MAX_NAMES} names only how many there were.
 */
export class Occurrences {
  readonly #log: LimitedLog;
  readonly #seen = new Map<string, Sighting & { at: number }>();

  constructor(log: LimitedLog) {
    this.#log = log;
  }

  note(name: string, tell: WriteLine): void {
    const known = this.#placeOf(name);
    const times = (this.#seen.get(known)?.times ?? 0) + 1;
    // Behind the others: the first is the one that was not seen for longest.
    this.#seen.delete(known);
    this.#seen.set(known, { times, last_seen: new Date().toISOString(), at: performance.now() });
    this.#log.note(known, tell);
  }

  list(): ({ name: string } & Sighting)[] {
    return [...this.#seen].map(([name, { times, last_seen }]) => ({ name, times, last_seen }));
  }

  #placeOf(name: string): string {
    if (this.#seen.has(name) || this.#seen.size < MAX_NAMES) return name;
    const [oldest] = this.#seen;
    if (oldest === undefined || performance.now() - oldest[1].at < KEPT_MS) return OTHERS;
    this.#seen.delete(oldest[0]);
    return name;
  }
}

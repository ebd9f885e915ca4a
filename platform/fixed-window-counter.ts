const MINUTE_MS = 60_000;
/** Keys that are counted at once; beyond, the longest known are forgotten. */
const MAX_KEYS = 10_000;

/** Counts by key what happens in a minute, from the first time that it happens. */
export class FixedWindowCounter {
  readonly #now: () => number;
  /** In the order in which their minutes end. */
  readonly #counts = new Map<string, { count: number; until: number }>();

  /** @param now milliseconds, of any clock that runs forward. Default: the process's */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** @returns how many there were in the key's minute, with this one */
  add(key: string): number {
    const now = this.#now();
    for (const [known, { until }] of this.#counts) {
      if (until > now && this.#counts.size < MAX_KEYS) break;
      this.#counts.delete(known);
    }
    const counted = this.#counts.get(key);
    if (counted !== undefined) return ++counted.count;
    this.#counts.set(key, { count: 1, until: now + MINUTE_MS });
    return 1;
  }
}

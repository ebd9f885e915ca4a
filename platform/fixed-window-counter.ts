const WINDOW_MS = 60_000;
/** Keys counted at once. Beyond this, the oldest windows are removed. */
const MAX_KEYS = 10_000;

/** Counts events by key in windows of one minute, which start at a key's first event. */
export class FixedWindowCounter {
  readonly #now: () => number;
  /** Ordered by the end of the window. */
  readonly #counts = new Map<string, { count: number; until: number }>();

  /** @param now milliseconds of a monotonic clock. Default: `performance.now()`. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** @returns the events in the key's window, including this one */
  add(key: string): number {
    const now = this.#now();
    for (const [known, { until }] of this.#counts) {
      if (until > now && this.#counts.size < MAX_KEYS) break;
      this.#counts.delete(known);
    }
    const counted = this.#counts.get(key);
    if (counted !== undefined) return ++counted.count;
    this.#counts.set(key, { count: 1, until: now + WINDOW_MS });
    return 1;
  }
}

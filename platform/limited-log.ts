const INTERVAL_MS = 60_000;
/** Keys counted at once. Beyond this, the line of the oldest key is written early. */
const MAX_KEYS = 10_000;

/** @param times occurrences since the last line of this key, including this one */
export type WriteLine = (times: number) => void;

interface Counted {
  /** Occurrences since the last line. */
  unwritten: number;
  until: number;
  write: WriteLine;
}

interface LimitedLogOptions {
  /** The time between two lines of one key. Default: one minute. */
  intervalMs?: number;
  /** Milliseconds of a monotonic clock. Default: `performance.now()`. */
  now?: () => number;
}

/**
 * Limits log lines that a client can cause at will: the first line of a key is written at once, and then at most one
 * per interval.
 */
export class LimitedLog {
  readonly #intervalMs: number;
  readonly #now: () => number;
  /** Ordered by the end of the interval. */
  readonly #counted = new Map<string, Counted>();
  #timer: NodeJS.Timeout | undefined;

  constructor({ intervalMs = INTERVAL_MS, now = () => performance.now() }: LimitedLogOptions = {}) {
    this.#intervalMs = intervalMs;
    this.#now = now;
  }

  /** @param write called now, or at the end of the interval unless a newer callback has replaced it */
  note(key: string, write: WriteLine): void {
    this.#endDueIntervals();
    const counted = this.#counted.get(key);
    if (counted !== undefined) {
      counted.unwritten++;
      counted.write = write;
      return;
    }
    const [oldest] = this.#counted.keys();
    if (this.#counted.size >= MAX_KEYS && oldest !== undefined) this.#end(oldest);
    this.#begin(key, write);
    write(1);
  }

  /** Writes the pending lines. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const { unwritten, write } of this.#counted.values()) if (unwritten > 0) write(unwritten);
    this.#counted.clear();
  }

  #begin(key: string, write: WriteLine): void {
    this.#counted.set(key, { unwritten: 0, until: this.#now() + this.#intervalMs, write });
    this.#timer ??= setTimeout(() => this.#wake(), this.#intervalMs).unref();
  }

  #wake(): void {
    this.#timer = undefined;
    this.#endDueIntervals();
    const [next] = this.#counted.values();
    if (next === undefined) return;
    this.#timer = setTimeout(() => this.#wake(), Math.max(1, next.until - this.#now())).unref();
  }

  #endDueIntervals(): void {
    for (const [key, { until }] of this.#counted) {
      if (until > this.#now()) return;
      this.#end(key);
    }
  }

  /** Ends the key's interval. Writes a pending line, and then begins a new interval. */
  #end(key: string): void {
    const counted = this.#counted.get(key);
    this.#counted.delete(key);
    if (counted === undefined || counted.unwritten === 0) return;
    if (this.#counted.size < MAX_KEYS - 1) this.#begin(key, counted.write);
    counted.write(counted.unwritten);
  }
}

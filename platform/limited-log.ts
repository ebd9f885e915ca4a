const INTERVAL_MS = 60_000;
/** Keys that are counted at once; beyond, the oldest is told early. */
const MAX_KEYS = 10_000;

/** @param times occurrences since this key was last told, with this one */
export type WriteLine = (times: number) => void;

interface Counted {
  /** Occurrences that nobody was told of yet. */
  untold: number;
  until: number;
  tell: WriteLine;
}

export interface LimitedLogOptions {
  /** Milliseconds between two lines of one key. Default: one minute. */
  intervalMs?: number;
  /** Milliseconds, of any clock that runs forward. Default: the process's. */
  now?: () => number;
}

/**
 * What a client can cause at will must not fill a log: the first occurrence of a key is told at once, the others are counted,
 * and one more line a minute says how many they were.
 */
export class LimitedLog {
  readonly #intervalMs: number;
  readonly #now: () => number;
  /** In the order in which their intervals end. */
  readonly #counted = new Map<string, Counted>();
  #timer: NodeJS.Timeout | undefined;

  constructor({ intervalMs = INTERVAL_MS, now = () => performance.now() }: LimitedLogOptions = {}) {
    this.#intervalMs = intervalMs;
    this.#now = now;
  }

  /** @param tell called now, or with the number of occurrences when the key's interval ends; the newest one is called */
  note(key: string, tell: WriteLine): void {
    this.#tellThoseOver();
    const counted = this.#counted.get(key);
    if (counted !== undefined) {
      counted.untold++;
      counted.tell = tell;
      return;
    }
    const [oldest] = this.#counted.keys();
    if (this.#counted.size >= MAX_KEYS && oldest !== undefined) this.#end(oldest);
    this.#begin(key, tell);
    tell(1);
  }

  /** Tells what was only counted so far. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const { untold, tell } of this.#counted.values()) if (untold > 0) tell(untold);
    this.#counted.clear();
  }

  #begin(key: string, tell: WriteLine): void {
    this.#counted.set(key, { untold: 0, until: this.#now() + this.#intervalMs, tell });
    this.#timer ??= setTimeout(() => this.#wake(), this.#intervalMs).unref();
  }

  #wake(): void {
    this.#timer = undefined;
    this.#tellThoseOver();
    const [next] = this.#counted.values();
    if (next === undefined) return;
    this.#timer = setTimeout(() => this.#wake(), Math.max(1, next.until - this.#now())).unref();
  }

  #tellThoseOver(): void {
    for (const [key, { until }] of this.#counted) {
      if (until > this.#now()) return;
      this.#end(key);
    }
  }

  /** The interval of the key is over. One that had more begins anew: its next line is due in a minute, too. */
  #end(key: string): void {
    const counted = this.#counted.get(key);
    this.#counted.delete(key);
    if (counted === undefined || counted.untold === 0) return;
    if (this.#counted.size < MAX_KEYS - 1) this.#begin(key, counted.tell);
    counted.tell(counted.untold);
  }
}

/** Wills are published at most this much later than they are due. */
const TICK_MS = 250;

/** The wills that wait for their delay, by session key. */
export class DueWills {
  readonly #now: () => number;
  readonly #onDue: (key: string) => void;
  readonly #dueAt = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  #isStarted = false;

  /** @param now milliseconds since 1970 @param onDue called once for each will, after {@link start} */
  constructor(now: () => number, onDue: (key: string) => void) {
    this.#now = now;
    this.#onDue = onDue;
  }

  has(key: string): boolean {
    return this.#dueAt.has(key);
  }

  /** @param at milliseconds since 1970 */
  set(key: string, at: number): void {
    this.#dueAt.set(key, at);
    this.#watch();
  }

  delete(key: string): void {
    this.#dueAt.delete(key);
  }

  /** The wills that are due can be published from now on. */
  start(): void {
    this.#isStarted = true;
    this.#watch();
  }

  stop(): void {
    this.#isStarted = false;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #watch(): void {
    if (!this.#isStarted || this.#dueAt.size === 0) return;
    this.#timer ??= setInterval(() => this.tick(), TICK_MS).unref();
  }

  tick(): void {
    const now = this.#now();
    for (const [key, at] of [...this.#dueAt]) {
      if (!this.#isStarted || at > now) continue;
      this.#dueAt.delete(key);
      this.#onDue(key);
    }
    if (this.#dueAt.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

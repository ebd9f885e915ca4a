type Callback = (error?: Error) => void;

/** Seconds of the rate that may come at once: a camera that was away has something to say. */
const BURST_SECONDS = 2;

/**
 * Lets a client, or all of one identity, publish so often, by reading from it more slowly: Aedes reads on when it is told that all it has read is
 * done with. Nothing is refused and nothing waits here but what one read has brought, so a camera with a long backlog
 * takes longer, and a client that floods is held back by its own link.
 */
export class Pace {
  readonly #perSecond: number;
  #left: number;
  #at = performance.now();
  /** Told, but for the time that is not come: to be called in this order. */
  #held: (() => void)[] = [];
  /** Of those that {@link Pace.of} has slowed, how many have not been called back. */
  #slowed = 0;

  /** @param perSecond may be `Infinity` */
  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#left = BURST_SECONDS * perSecond;
  }

  /** Counts one. @returns `done` itself, or when they come too fast one that waits before it calls it */
  of(done: Callback): Callback {
    if (this.#perSecond === Number.POSITIVE_INFINITY) return done;
    this.#refill();
    this.#left--;
    if (this.#left >= 0 && this.#slowed === 0) return done;
    this.#slowed++;
    return (error) => this.#hold(() => done(error));
  }

  #refill(): void {
    const now = performance.now();
    const earned = ((now - this.#at) * this.#perSecond) / 1000;
    this.#left = Math.min(BURST_SECONDS * this.#perSecond, this.#left + earned);
    this.#at = now;
  }

  #hold(done: () => void): void {
    this.#held.push(done);
    if (this.#held.length === 1) this.#wait();
  }

  #wait(): void {
    setTimeout(() => this.#release(), Math.ceil((Math.max(0, -this.#left) * 1000) / this.#perSecond)).unref();
  }

  #release(): void {
    this.#refill();
    if (this.#left < 0) {
      this.#wait();
      return;
    }
    const held = this.#held;
    this.#held = [];
    this.#slowed -= held.length;
    for (const done of held) done();
  }
}

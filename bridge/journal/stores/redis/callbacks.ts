import type { Logger } from "pino";

/** Who is to be called. One that throws is logged, and harms nobody else. */
export class Callbacks<Args extends readonly unknown[]> {
  readonly #logger: Logger;
  #all: readonly ((...args: Args) => void)[] = [];

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** @returns ends it */
  add(callback: (...args: Args) => void): () => void {
    // A function of its own, so that one that is added twice is called twice, and each end is its own.
    const own = (...args: Args) => callback(...args);
    this.#all = [...this.#all, own];
    return () => {
      this.#all = this.#all.filter((other) => other !== own);
    };
  }

  call(...args: Args): void {
    for (const callback of this.#all) {
      try {
        callback(...args);
      } catch (err) {
        this.#logger.error({ err }, "a follower of the journal failed");
      }
    }
  }
}

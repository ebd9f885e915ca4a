import type { Logger } from "pino";

/** Who listens to what, by name. A listener that throws is logged, and keeps nobody else from hearing. */
export class Listeners<Args extends readonly unknown[]> {
  readonly #byName = new Map<string, Set<(...args: Args) => void>>();
  readonly #logger: Logger;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** @returns ends it */
  add(name: string, listener: (...args: Args) => void): () => void {
    // A function of its own, so that one that listens twice hears twice, and each end is its own.
    const own = (...args: Args) => listener(...args);
    const listeners = this.#byName.get(name) ?? new Set();
    this.#byName.set(name, listeners.add(own));
    return () => {
      listeners.delete(own);
      if (listeners.size === 0 && this.#byName.get(name) === listeners) this.#byName.delete(name);
    };
  }

  call(name: string, ...args: Args): void {
    for (const listener of [...(this.#byName.get(name) ?? [])]) {
      try {
        listener(...args);
      } catch (error) {
        this.#logger.error({ err: error, name }, "listener failed");
      }
    }
  }

  callAll(...args: Args): void {
    for (const name of [...this.#byName.keys()]) this.call(name, ...args);
  }

  clear(): void {
    this.#byName.clear();
  }
}

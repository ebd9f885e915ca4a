import type { Logger } from "pino";

/** A set of listeners. An error that a listener throws is logged and does not affect the other listeners. */
export class Listeners<Args extends readonly unknown[]> {
  readonly #logger: Logger;
  #listeners: readonly ((...args: Args) => void)[] = [];

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  get size(): number {
    return this.#listeners.length;
  }

  /** @returns removes the listener */
  add(listener: (...args: Args) => void): () => void {
    // Each call makes a new function: a listener that is added twice is called twice, and can be removed once for each
    // time.
    const added = (...args: Args) => listener(...args);
    this.#listeners = [...this.#listeners, added];
    return () => {
      this.#listeners = this.#listeners.filter((other) => other !== added);
    };
  }

  call(...args: Args): void {
    for (const listener of this.#listeners) {
      try {
        listener(...args);
      } catch (err) {
        this.#logger.error({ err }, "listener failed");
      }
    }
  }
}

/** Sets of listeners by name. */
export class NamedListeners<Args extends readonly unknown[]> {
  readonly #logger: Logger;
  readonly #byName = new Map<string, Listeners<Args>>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** @returns removes the listener */
  add(name: string, listener: (...args: Args) => void): () => void {
    const listeners = this.#byName.get(name) ?? new Listeners<Args>(this.#logger.child({ name }));
    this.#byName.set(name, listeners);
    const remove = listeners.add(listener);
    return () => {
      remove();
      if (listeners.size === 0 && this.#byName.get(name) === listeners) this.#byName.delete(name);
    };
  }

  call(name: string, ...args: Args): void {
    this.#byName.get(name)?.call(...args);
  }

  callAll(...args: Args): void {
    for (const name of [...this.#byName.keys()]) this.call(name, ...args);
  }

  clear(): void {
    this.#byName.clear();
  }
}

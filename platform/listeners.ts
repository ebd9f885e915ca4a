import type { Logger } from "pino";

/** Listeners of an event. The error of a listener is logged, and the other listeners are still called. */
export class Listeners<Args extends readonly unknown[]> {
  readonly #logger: Logger;
  #listeners: readonly ((...args: Args) => void)[] = [];

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  get size(): number {
    return this.#listeners.length;
  }

  /** A listener that is added twice is called twice. @returns a function that removes the listener */
  add(listener: (...args: Args) => void): () => void {
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

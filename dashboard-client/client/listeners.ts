import { callListener, type ProblemReporter } from "./problems.ts";

/**
 * A set of listeners. Each is called even if another one throws, and a listener may remove itself while it is called.
 */
export class Listeners<Value> {
  readonly #listeners = new Set<(value: Value) => void>();
  readonly #report: ProblemReporter;

  constructor(report: ProblemReporter) {
    this.#report = report;
  }

  get size(): number {
    return this.#listeners.size;
  }

  /** @returns a function that removes the listener; further calls do nothing */
  add(listener: (value: Value) => void): () => void {
    // A new function, so that a listener that is added twice is called twice and is removed one at a time.
    const entry = (value: Value): void => listener(value);
    this.#listeners.add(entry);
    return () => {
      this.#listeners.delete(entry);
    };
  }

  call(value: Value): void {
    for (const listener of [...this.#listeners]) callListener(this.#report, listener, value);
  }

  clear(): void {
    this.#listeners.clear();
  }
}

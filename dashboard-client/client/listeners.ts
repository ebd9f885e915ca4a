import { callListener, type ProblemReporter } from "./problems.ts";

/** Functions that want to know. Each is called even when another throws, and may remove itself while being called. */
export class Listeners<Value> {
  readonly #listeners = new Set<(value: Value) => void>();
  readonly #report: ProblemReporter;

  constructor(report: ProblemReporter) {
    this.#report = report;
  }

  /** @returns removes the listener again */
  add(listener: (value: Value) => void): () => void {
    // A wrapper of its own, so that the same function added twice is two listeners with two ways to stop.
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

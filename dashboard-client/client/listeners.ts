import { callListener, type ProblemReporter } from "./problems.ts";

/** Calls every listener, even if another listener throws. A listener may remove itself during the call. */
export class Listeners<Value> {
  readonly #listeners = new Set<(value: Value) => void>();
  readonly #report: ProblemReporter;

  constructor(report: ProblemReporter) {
    this.#report = report;
  }

  get size(): number {
    return this.#listeners.size;
  }

  /** @returns a function that removes the listener; idempotent */
  add(listener: (value: Value) => void): () => void {
    // A new function for each call, so that the same listener may be added and removed twice.
    const entry = (value: Value): void => listener(value);
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  call(value: Value): void {
    for (const listener of [...this.#listeners]) callListener(this.#report, listener, value);
  }

  clear(): void {
    this.#listeners.clear();
  }
}

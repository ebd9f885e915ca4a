import type { Duplex } from "node:stream";

/**
 * Lets the messages that a client is sent in one turn of the event loop leave in one system call. Aedes writes each
 * delivery by itself, and the call is most of what a delivery costs: with bursts of 20 this halves it. A single
 * message waits for the next turn, which comes at once.
 */
export class WriteBatch {
  readonly #held = new Set<Duplex>();
  #scheduled = false;

  /** What is written to the connection until the end of the next turn is written then. */
  hold(connection: Duplex): void {
    if (this.#held.has(connection)) return;
    connection.cork();
    this.#held.add(connection);
    if (this.#scheduled) return;
    this.#scheduled = true;
    // The first `setImmediate` comes before the deliveries of this turn, which Aedes makes in `setImmediate` too.
    setImmediate(() => setImmediate(this.#releaseAll));
  }

  /** Writes now what is held back, so that only what the link does not take counts as waiting for it. */
  release(connection: Duplex): void {
    if (this.#held.delete(connection)) connection.uncork();
  }

  readonly #releaseAll = (): void => {
    this.#scheduled = false;
    for (const connection of this.#held) connection.uncork();
    this.#held.clear();
  };
}

import type { Duplex } from "node:stream";

/**
 * Writes all messages to a client in one turn of the event loop with one system call. Aedes writes each delivery
 * separately: with bursts of 20 messages, batching halves the cost of a delivery. A single message waits until the next
 * turn, which starts immediately.
 */
export class WriteBatch {
  readonly #held = new Set<Duplex>();
  #scheduled = false;

  /** Buffers writes to the connection until the end of the next turn. */
  hold(connection: Duplex): void {
    if (this.#held.has(connection)) return;
    connection.cork();
    this.#held.add(connection);
    if (this.#scheduled) return;
    this.#scheduled = true;
    // Aedes delivers in `setImmediate` too: only the second callback certainly runs after the deliveries of this turn.
    setImmediate(() => setImmediate(this.#releaseAll));
  }

  /** Writes the buffered bytes now, so that `writableLength` counts only what the connection cannot take. */
  release(connection: Duplex): void {
    if (this.#held.delete(connection)) connection.uncork();
  }

  readonly #releaseAll = (): void => {
    this.#scheduled = false;
    for (const connection of this.#held) connection.uncork();
    this.#held.clear();
  };
}

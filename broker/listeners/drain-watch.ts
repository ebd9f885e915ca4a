import type { Duplex } from "node:stream";
import { everyRunning } from "../../platform/running-time.ts";
import { SendProgress } from "../../platform/send-progress.ts";

/** The longest time between two checks. */
const MAX_CHECK_INTERVAL_MS = 1_000;

class DrainTimeoutError extends Error {
  override name = "DrainTimeoutError";
}

/**
 * Ends connections whose client reads nothing for a time. A client that reads slowly keeps its connection. One timer
 * serves all connections.
 */
export class DrainWatch {
  readonly #timeoutMs: number;
  readonly #links = new Map<Duplex, SendProgress>();
  #pausedMs = 0;
  #stop: (() => void) | undefined;

  constructor({ drainTimeoutMs }: { drainTimeoutMs: number }) {
    this.#timeoutMs = drainTimeoutMs;
  }

  /** Watches a connection until it closes. @param socket the raw socket, below any WebSocket */
  add(connection: Duplex, socket: Duplex): void {
    this.#links.set(connection, new SendProgress(socket, this.#timeoutMs));
    connection.once("close", () => {
      this.#links.delete(connection);
      if (this.#links.size > 0) return;
      this.#stop?.();
      this.#stop = undefined;
    });
    const intervalMs = Math.min(MAX_CHECK_INTERVAL_MS, Math.ceil(this.#timeoutMs / 10));
    this.#stop ??= everyRunning(intervalMs, (pausedMs) => this.#check(pausedMs));
  }

  #check(pausedMs: number): void {
    this.#pausedMs += pausedMs;
    const now = performance.now() - this.#pausedMs;
    for (const [connection, progress] of this.#links) {
      if (progress.stalledMs(now) < this.#timeoutMs) continue;
      const why = `drain timeout: the client has read nothing for ${this.#timeoutMs} ms`;
      connection.destroy(new DrainTimeoutError(why));
    }
  }
}

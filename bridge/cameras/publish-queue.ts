import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "pino";
import type { BackendEvent, Publish } from "../broker-link/publish.ts";

interface PublishQueueOptions {
  publish: Publish;
  /** Milliseconds between two attempts. Default 5,000. */
  retryMs?: number;
  /** The most events that wait; further events are dropped. Default 1,000. */
  maxWaiting?: number;
  logger: Logger;
}

/** Publishes events one after the other, and retries each until it is durable. */
export class PublishQueue {
  readonly #options: Required<PublishQueueOptions>;
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  readonly #stopping = new AbortController();

  constructor({ retryMs = 5_000, maxWaiting = 1_000, ...options }: PublishQueueOptions) {
    this.#options = { retryMs, maxWaiting, ...options };
  }

  /**
   * @param message called before each attempt; returns undefined when the event is not needed any more
   * @returns false when the event was dropped: the queue was full or is stopped
   */
  async add(message: () => BackendEvent | undefined): Promise<boolean> {
    if (this.#stopping.signal.aborted || this.#waiting >= this.#options.maxWaiting) return false;
    this.#waiting++;
    const published = this.#last.then(() => this.#publish(message)).finally(() => this.#waiting--);
    this.#last = published;
    return published;
  }

  /** Drops the waiting events, and waits for the publication under way. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#last;
  }

  async #publish(message: () => BackendEvent | undefined): Promise<boolean> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const next = message();
      if (next === undefined) return true;
      try {
        await this.#options.publish(next);
        return true;
      } catch (error) {
        this.#options.logger.debug({ err: error, event: next.event }, "event not published, retrying");
        await sleep(this.#options.retryMs, undefined, { ref: false, signal }).catch(() => undefined);
      }
    }
    return false;
  }
}

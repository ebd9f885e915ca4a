import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "pino";
import type { BackendEvent, Publish } from "../broker-link/publish.ts";

/** Milliseconds between two attempts. */
const RETRY_MS = 5_000;
/** The most events that wait. Further events are dropped. */
const MAX_WAITING = 1_000;

/** Publishes events one after the other, and retries each until it is durable. */
export class PublishQueue {
  readonly #options: { publish: Publish; logger: Logger };
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  readonly #stopping = new AbortController();

  constructor(options: { publish: Publish; logger: Logger }) {
    this.#options = options;
  }

  /**
   * @param message called before each attempt; returns undefined when the event is not needed any more
   * @returns false when the event was dropped: the queue was full or is stopped
   */
  async add(message: () => BackendEvent | undefined): Promise<boolean> {
    if (this.#stopping.signal.aborted || this.#waiting >= MAX_WAITING) return false;
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
        const camera = "camera" in next.topic ? next.topic.camera : undefined;
        this.#options.logger.debug({ err: error, camera, event: next.event }, "event not published, retrying");
        await sleep(RETRY_MS, undefined, { ref: false, signal }).catch(() => undefined);
      }
    }
    return false;
  }
}

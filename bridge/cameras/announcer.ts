import type { Logger } from "pino";
import type { OwnMessage, Publish } from "../broker-link/publish.ts";

export interface AnnouncerOptions {
  publish: Publish;
  /** Between two tries, milliseconds. Default 5,000. */
  retryMs?: number;
  /** Messages that wait for the store; further ones are given up. Default 1,000. */
  maxWaiting?: number;
  logger: Logger;
}

/** Says things one after the other, and each until it is durable: while the store is away, they wait. */
export class Announcer {
  readonly #options: Required<AnnouncerOptions>;
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #stopped = false;
  #wake: (() => void) | undefined;

  constructor({ retryMs = 5_000, maxWaiting = 1_000, ...options }: AnnouncerOptions) {
    this.#options = { retryMs, maxWaiting, ...options };
  }

  /**
   * @param message asked for when its turn has come; undefined when there is nothing to say any more
   * @returns false when it was given up: too many wait, or {@link stop} was called
   */
  async say(message: () => OwnMessage | undefined): Promise<boolean> {
    if (this.#stopped || this.#waiting >= this.#options.maxWaiting) return false;
    this.#waiting++;
    const said = this.#last.then(() => this.#insist(message)).finally(() => this.#waiting--);
    this.#last = said;
    return said;
  }

  /** What waits is given up; what is under way is waited for. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake?.();
    await this.#last;
  }

  async #insist(message: () => OwnMessage | undefined): Promise<boolean> {
    while (!this.#stopped) {
      const next = message();
      if (next === undefined) return true;
      try {
        await this.#options.publish(next);
        return true;
      } catch (error) {
        this.#options.logger.debug({ err: error, event: next.event }, "not published, trying again");
        await this.#pause();
      }
    }
    return false;
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.#options.retryMs);
      timer.unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

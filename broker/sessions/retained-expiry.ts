/** Expired messages are removed at most this much later. They are not sent from the moment of their expiry on. */
const TICK_MS = 1_000;

interface RetainedExpiryOptions {
  /** Milliseconds since 1970. */
  now: () => number;
  /** Removes the messages of the topics. @throws they are removed later */
  remove(topics: readonly string[]): Promise<void>;
  onFailed(error: unknown): void;
}

/** Removes retained messages that have expired, so that they take no room. */
export class RetainedExpiry {
  readonly #options: RetainedExpiryOptions;
  /** When the messages of these topics expire. Most messages never do. */
  readonly #expiresAt = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  #isRemoving = false;

  constructor(options: RetainedExpiryOptions) {
    this.#options = options;
  }

  /** @param expiresAt undefined: the topic's message does not expire, or there is none */
  set(topic: string, expiresAt: number | undefined): void {
    if (expiresAt === undefined) {
      if (this.#expiresAt.size > 0) this.#expiresAt.delete(topic);
      return;
    }
    this.#expiresAt.set(topic, expiresAt);
    this.#timer ??= setInterval(() => void this.#tick(), TICK_MS).unref();
  }

  clear(): void {
    this.#expiresAt.clear();
    this.#stop();
  }

  #stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #tick(): Promise<void> {
    const { now, remove, onFailed } = this.#options;
    if (this.#isRemoving) return;
    const moment = now();
    const expired = [...this.#expiresAt].filter(([, at]) => at <= moment);
    if (expired.length === 0) return;
    this.#isRemoving = true;
    try {
      await remove(expired.map(([topic]) => topic));
      // A newer message may have come meanwhile.
      for (const [topic, at] of expired) if (this.#expiresAt.get(topic) === at) this.#expiresAt.delete(topic);
    } catch (error) {
      onFailed(error);
    }
    this.#isRemoving = false;
    if (this.#expiresAt.size === 0) this.#stop();
  }
}

import type { Redis } from "ioredis";
import type { Logger } from "pino";
import type { Connection } from "./connection.ts";

const RETRY_MS = 500;

interface Subscription {
  onMessage(message: Buffer): void;
  /** Called whenever the connection has subscribed. Messages before may have been missed. Default: ignored. */
  onSubscribed?(): void;
}

/** Redis' publish and subscribe, for all channels of this node. Redis keeps nothing for a subscriber that is away. */
export class Subscriber {
  readonly #connection: Connection;
  readonly #logger: Logger;
  readonly #subscriptions = new Map<string, Subscription>();
  /** The client that has subscribed to all channels. */
  #subscribed: Redis | undefined;

  constructor(connection: Connection, logger: Logger) {
    this.#connection = connection;
    this.#logger = logger;
    connection.onReady((client) => {
      client.on("messageBuffer", (channel: Buffer, message: Buffer) =>
        this.#subscriptions.get(channel.toString())?.onMessage(message),
      );
      void this.#subscribe([...this.#subscriptions.keys()]);
    });
  }

  /** Whether the subscriptions exist, as far as this node knows. */
  get isSubscribed(): boolean {
    return this.#subscribed !== undefined && this.#subscribed === this.#connection.opened?.client;
  }

  /** One subscription a channel. @returns ends it for this node */
  subscribe(channel: string, subscription: Subscription): () => void {
    this.#subscriptions.set(channel, subscription);
    void this.#subscribe([channel]);
    return () => {
      if (this.#subscriptions.get(channel) === subscription) this.#subscriptions.delete(channel);
    };
  }

  /** Subscribes again on a new connection, because this one delivers nothing. */
  interrupt(): void {
    this.#connection.interrupt();
  }

  /** Never rejects. */
  async #subscribe(channels: readonly string[]): Promise<void> {
    const client = this.#connection.opened?.client;
    if (client === undefined || channels.length === 0) return;
    try {
      await this.#connection.do((redis) => redis.subscribe(...channels));
    } catch (err) {
      this.#logger.debug({ err, channels }, "subscription failed, retrying");
      setTimeout(() => {
        if (this.#connection.opened?.client === client) void this.#subscribe(channels);
      }, RETRY_MS).unref();
      return;
    }
    this.#subscribed = client;
    for (const channel of channels) this.#subscriptions.get(channel)?.onSubscribed?.();
  }
}

import { hasExpired } from "../../platform/publication-log.ts";
import type { Mqtt5Client } from "./client.ts";
import type { Mqtt5Parts } from "./parts.ts";
import type { Subscription } from "./subscriptions.ts";

/**
 * Sends the retained messages of a client's new subscriptions, as fast as the client takes them [MQTT-3.3.1-9]. One
 * subscription after the other: a client that repeats its SUBSCRIBEs and takes nothing must not fill the memory.
 */
export class RetainedMessages {
  readonly #client: Mqtt5Client;
  readonly #parts: Mqtt5Parts;
  #isSending = false;

  constructor(client: Mqtt5Client, parts: Mqtt5Parts) {
    this.#client = client;
    this.#parts = parts;
  }

  /** Some of the client's subscriptions want their retained messages. */
  wake(): void {
    if (!this.#isSending) void this.#sendAll();
  }

  async #sendAll(): Promise<void> {
    const { subscriptions } = this.#client;
    this.#isSending = true;
    try {
      for (let next = subscriptions?.nextForRetained(); next !== undefined; next = subscriptions?.nextForRetained())
        await this.#sendOf(next.filter, next.subscription);
    } catch (err) {
      this.#parts.logger.error({ err }, "retained messages unreadable");
    }
    this.#isSending = false;
  }

  async #sendOf(filter: string, subscription: Subscription): Promise<void> {
    const client = this.#client;
    const { storage, registry, forwarding, now } = this.#parts;
    for await (const message of storage.retained.read([filter])) {
      await client.deliveries?.room();
      const access = registry.get(client);
      const isOver = client.closed || access === undefined || client.subscriptions?.get(filter) !== subscription;
      if (isOver) return;
      if (hasExpired(message, now) || !access.set.mayReceive(message.topic, message.payload)) continue;
      if (subscription.noLocal === true && message.publisher === client.id) continue;
      if (!forwarding.alsoComesLive(access, message.topic, message.payload))
        client.deliveries?.retained(subscription, message);
    }
  }
}

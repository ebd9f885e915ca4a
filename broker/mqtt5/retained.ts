import { hasExpired } from "../../platform/publication-log.ts";
import type { Mqtt5Client } from "./client.ts";
import type { Mqtt5Parts } from "./parts.ts";
import type { Subscription } from "./subscriptions.ts";

interface RetainedRequest {
  readonly filter: string;
  readonly subscription: Subscription;
}

/** Sends the retained messages of new subscriptions, as fast as the client takes them [MQTT-3.3.1-9]. Never rejects. */
export async function sendRetained(
  client: Mqtt5Client,
  requests: readonly RetainedRequest[],
  parts: Mqtt5Parts,
): Promise<void> {
  try {
    for (const request of requests) await sendOf(client, request, parts);
  } catch (err) {
    parts.logger.error({ err }, "retained messages unreadable");
  }
}

async function sendOf(
  client: Mqtt5Client,
  { filter, subscription }: RetainedRequest,
  parts: Mqtt5Parts,
): Promise<void> {
  const { storage, registry, forwarding, now } = parts;
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

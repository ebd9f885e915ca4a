import type { Mqtt5Client } from "./client.ts";
import type { Mqtt5Parts } from "./parts.ts";

/** The connection has ended: publishes its will, now or later, unless the client has discarded it [MQTT-3.1.2-8]. */
export function endWill(
  client: Mqtt5Client,
  parts: Pick<Mqtt5Parts, "broker" | "publishing" | "storage" | "now">,
): void {
  const { will } = client;
  client.will = undefined;
  if (will === undefined) return;
  const { broker, publishing, storage, now } = parts;
  const remove = () => void storage.delWill({ id: client.id, brokerId: broker.id }).then(nothing, nothing);
  // [MQTT-3.14.4-3]
  if (client.dropsWill) {
    remove();
    return;
  }
  if (storage.postponeWill(client, will)) return;
  const expiresAt = will.expiry === undefined ? undefined : now() + will.expiry * 1000;
  will.stored = { publisher: client.id, expiresAt, properties: will.stored?.properties };
  publishing.hook(client, will, (error) => {
    if (error) remove();
    else broker.publish(will, remove);
  });
}

function nothing(): void {}

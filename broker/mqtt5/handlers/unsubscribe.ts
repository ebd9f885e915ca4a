import type { ByteReader } from "../byte-reader.ts";
import type { Mqtt5Client } from "../client.ts";
import { decodeUnsubscribe } from "../decode.ts";
import { encodeGrants } from "../encode.ts";
import { PacketType } from "../packet-types.ts";
import type { Mqtt5Parts } from "../parts.ts";
import { ReasonCode } from "../reason-codes.ts";

/** Ends subscriptions, and answers with one reason code for each filter [MQTT-3.11.3-1]. @throws {ProtocolError} */
export function handleUnsubscribe(client: Mqtt5Client, body: ByteReader, { registry, storage }: Mqtt5Parts): void {
  const { messageId, filters } = decodeUnsubscribe(body);
  const codes = filters.map((filter) => {
    registry.get(client)?.filters.delete(filter);
    const isOwn = client.subscriptions?.delete(filter) === true;
    const isRemoved = isOwn || client.deliveries?.shares?.unsubscribe(filter) === true;
    return isRemoved ? ReasonCode.success : ReasonCode.noSubscriptionExisted;
  });
  const send = () => {
    if (!client.closed) client.sendWithReason(undefined, () => encodeGrants(PacketType.unsuback, messageId, codes));
  };
  if (client.clean) send();
  else {
    const removed = new Promise<void>((resolve, reject) => {
      storage.removeSubscriptions(client, [...filters]).then(resolve, reject);
    });
    client.answer(removed.then(send));
  }
}

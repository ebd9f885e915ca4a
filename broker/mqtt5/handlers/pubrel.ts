import type { ByteReader } from "../byte-reader.ts";
import type { Mqtt5Client } from "../client.ts";
import { decodeAcknowledgement } from "../decode.ts";
import { PacketType } from "../packet-types.ts";
import type { Mqtt5Parts } from "../parts.ts";
import { ReasonCode } from "../reason-codes.ts";

/** Forgets the message id of a publication of QoS 2, and answers with PUBCOMP [MQTT-4.3.3-11]. @throws {ProtocolError} */
export function handlePubrel(client: Mqtt5Client, body: ByteReader, { storage }: Mqtt5Parts): void {
  const { messageId } = decodeAcknowledgement(body);
  if (!storage.isIncoming(client.id, messageId)) {
    client.acknowledge(PacketType.pubcomp, messageId, ReasonCode.packetIdNotFound);
    return;
  }
  client.answer(
    storage.incomingDelPacket(client, { messageId }).then(() => {
      client.receiving.delete(messageId);
      client.acknowledge(PacketType.pubcomp, messageId);
    }),
  );
}

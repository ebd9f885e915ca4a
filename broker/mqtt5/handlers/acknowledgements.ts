import type { ByteReader } from "../byte-reader.ts";
import type { Mqtt5Client } from "../client.ts";
import { decodeAcknowledgement } from "../decode.ts";
import { PacketType } from "../packet-types.ts";
import type { Mqtt5Parts } from "../parts.ts";
import { ReasonCode } from "../reason-codes.ts";

const FIRST_FAILURE = 0x80;

/** PUBACK: the client has a message of QoS 1. @throws {ProtocolError} */
export function handlePuback(client: Mqtt5Client, body: ByteReader, parts: Mqtt5Parts): void {
  const { messageId, reasonCode } = decodeAcknowledgement(body);
  finish(client, { messageId, reasonCode, qos: 1 }, parts);
}

/** PUBCOMP: the client has a message of QoS 2, and the exchange is complete. @throws {ProtocolError} */
export function handlePubcomp(client: Mqtt5Client, body: ByteReader, parts: Mqtt5Parts): void {
  const { messageId } = decodeAcknowledgement(body);
  finish(client, { messageId, reasonCode: ReasonCode.success, qos: 2 }, parts);
}

/** PUBREC: answered with PUBREL, as soon as the PUBREC is durable for a session [MQTT-4.3.3-4]. @throws {ProtocolError} */
export function handlePubrec(client: Mqtt5Client, body: ByteReader, parts: Mqtt5Parts): void {
  const { messageId, reasonCode } = decodeAcknowledgement(body);
  if (reasonCode >= FIRST_FAILURE) {
    finish(client, { messageId, reasonCode, qos: 2 }, parts);
    return;
  }
  const received = client.deliveries?.received(messageId);
  if (received === undefined) client.acknowledge(PacketType.pubrel, messageId, ReasonCode.packetIdNotFound);
  else if (received === true) client.acknowledge(PacketType.pubrel, messageId);
  else client.answer(received.then(() => client.acknowledge(PacketType.pubrel, messageId)));
}

interface Finished {
  readonly messageId: number;
  readonly reasonCode: number;
  readonly qos: 1 | 2;
}

function finish(client: Mqtt5Client, { messageId, reasonCode, qos }: Finished, parts: Mqtt5Parts): void {
  const message = client.deliveries?.acknowledged(messageId, qos);
  const identity = parts.registry.get(client)?.identity;
  // A client that refuses a message with a reason code has not carried it out.
  if (message === undefined || identity === undefined || reasonCode >= FIRST_FAILURE) return;
  parts.onDelivered({ identity, topic: message.topic, payload: message.payload });
}

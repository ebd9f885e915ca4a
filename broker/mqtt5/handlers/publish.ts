import { isUtf8 } from "node:buffer";
import type { RefusalReason } from "../../../contract/events.ts";
import type { PropertiedPacket } from "../../aedes/propertied-packet.ts";
import type { ByteReader } from "../byte-reader.ts";
import type { Mqtt5Client } from "../client.ts";
import { decodePublish, type Publish } from "../decode.ts";
import { PacketType } from "../packet-types.ts";
import type { Mqtt5Parts } from "../parts.ts";
import { ProtocolError, ReasonCode } from "../reason-codes.ts";
import { RECEIVE_MAXIMUM } from "./connect.ts";

const REFUSAL_CODES: Record<RefusalReason, ReasonCode> = {
  not_allowed: ReasonCode.notAuthorized,
  bad_topic: ReasonCode.topicInvalid,
  too_large: ReasonCode.quotaExceeded,
  too_deep: ReasonCode.payloadFormatInvalid,
  bad_picture: ReasonCode.payloadFormatInvalid,
  bad_payload: ReasonCode.payloadFormatInvalid,
  no_channel: ReasonCode.topicInvalid,
  no_room: ReasonCode.quotaExceeded,
};

/** Publishes a message of the client, and acknowledges it when it is durable or refused. @throws {ProtocolError} */
export function handlePublish(client: Mqtt5Client, body: ByteReader, parts: Mqtt5Parts, flags: number): void {
  const publish = decodePublish(body, flags);
  const topic = client.aliases.topicOf(publish.topic, publish.properties.topicAlias);
  // [MQTT-3.3.2-2]
  if (/[+#]/.test(topic)) throw new ProtocolError(ReasonCode.topicInvalid, "the topic contains a wildcard");
  checkReceiveMaximum(client, publish);
  const packet = packetOf(client, publish, topic, parts.now);
  if (publish.properties.payloadFormat === 1 && !isUtf8(publish.payload)) {
    parts.publishing.refusePayload(client, packet, "the payload is not UTF-8, which its payload format says");
    acknowledge(client, packet);
    return;
  }
  client.answerLater();
  parts.publishing.hook(client, packet, (error) => {
    client.answered();
    if (error) client.fail(error);
    else forward(client, packet, parts);
  });
}

/** Enforced for QoS 2 only: MQTT.js ignores the receive maximum, and QoS 1 leaves nothing behind here. */
function checkReceiveMaximum({ receiving }: Mqtt5Client, { qos, messageId }: Publish): void {
  if (qos !== 2 || receiving.size < RECEIVE_MAXIMUM || receiving.has(messageId)) return;
  const why = `more than ${RECEIVE_MAXIMUM} publications of QoS 2 are not released`;
  throw new ProtocolError(ReasonCode.receiveMaximumExceeded, why);
}

function packetOf(client: Mqtt5Client, publish: Publish, topic: string, now: () => number): PropertiedPacket {
  const { payload, qos, retain, dup, messageId, properties, travelling } = publish;
  const expiresAt = properties.messageExpiry === undefined ? undefined : now() + properties.messageExpiry * 1000;
  const stored = { publisher: client.id, expiresAt, properties: travelling };
  return { cmd: "publish", topic, payload, qos, retain, dup, messageId, stored };
}

function forward(client: Mqtt5Client, packet: PropertiedPacket, { broker, storage }: Mqtt5Parts): void {
  // A refused publication of QoS 2 ends with its PUBREC [MQTT-4.3.3-9].
  if (packet.qos === 2 && packet.refusal === undefined && packet.messageId !== undefined) {
    client.receiving.add(packet.messageId);
    void storage.incomingStorePacket(client, packet);
  }
  acknowledge(client, packet);
  broker.publish(packet, null, nothing);
}

function acknowledge(client: Mqtt5Client, { qos, messageId, refusal, notRetained }: PropertiedPacket): void {
  if (qos === 0 || messageId === undefined) return;
  const type = qos === 1 ? PacketType.puback : PacketType.pubrec;
  if (refusal === undefined) client.acknowledge(type, messageId, ReasonCode.success, notRetained);
  else client.acknowledge(type, messageId, REFUSAL_CODES[refusal.reason], refusal.why);
}

function nothing(): void {}

import { isUtf8 } from "node:buffer";
import type { ByteReader } from "./byte-reader.ts";
import { type Properties, PropertyId, readProperties } from "./properties.ts";
import { malformed, ProtocolError, protocolError, ReasonCode } from "./reason-codes.ts";

/** "MQTT" and the protocol level, which the listener has read. */
const NAME_AND_LEVEL_BYTES = 7;

const CONNECT_PROPERTIES: ReadonlySet<number> = new Set([
  ...[PropertyId.sessionExpiry, PropertyId.receiveMaximum, PropertyId.maximumPacketSize, PropertyId.topicAliasMaximum],
  ...[PropertyId.requestResponseInformation, PropertyId.requestProblemInformation, PropertyId.userProperty],
  ...[PropertyId.authenticationMethod, PropertyId.authenticationData],
]);
const WILL_PROPERTIES: ReadonlySet<number> = new Set([
  ...[PropertyId.willDelay, PropertyId.payloadFormat, PropertyId.messageExpiry, PropertyId.contentType],
  ...[PropertyId.responseTopic, PropertyId.correlationData, PropertyId.userProperty],
]);

export interface ConnectWill {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  /** Seconds. */
  readonly delay: number;
  /** Seconds. Undefined: the will does not expire. */
  readonly expiry: number | undefined;
  /** The properties that travel with the message. */
  readonly travelling: Uint8Array | undefined;
}

export interface Connect {
  readonly clientId: string;
  readonly cleanStart: boolean;
  /** Seconds. */
  readonly keepalive: number;
  readonly properties: Properties;
  readonly will: ConnectWill | undefined;
  readonly username: string | undefined;
  readonly password: Buffer | undefined;
}

/** @throws {ProtocolError} */
export function decodeConnect(reader: ByteReader): Connect {
  reader.part(NAME_AND_LEVEL_BYTES);
  const flags = reader.byte();
  if ((flags & 1) !== 0) throw malformed("the reserved flag of CONNECT is set [MQTT-3.1.2-3]");
  const keepalive = reader.twoBytes();
  const { properties } = readProperties(reader, CONNECT_PROPERTIES);
  if (properties.authenticationData !== undefined && properties.authenticationMethod === undefined)
    throw protocolError("authentication data without an authentication method");
  const clientId = reader.text();
  const will = readWill(reader, flags);
  const username = (flags & 0x80) === 0 ? undefined : reader.text();
  const password = (flags & 0x40) === 0 ? undefined : reader.binary();
  if (!reader.isAtEnd) throw malformed("CONNECT has more bytes than its fields");
  return { clientId, cleanStart: (flags & 2) !== 0, keepalive, properties, will, username, password };
}

function readWill(reader: ByteReader, flags: number): ConnectWill | undefined {
  const level = (flags >> 3) & 3;
  const retain = (flags & 0x20) !== 0;
  if ((flags & 4) === 0) {
    if (level !== 0 || retain) throw malformed("flags of a will without a will [MQTT-3.1.2-11] [MQTT-3.1.2-13]");
    return undefined;
  }
  if (level === 3) throw malformed("a will of QoS 3 [MQTT-3.1.2-12]");
  const { properties, travelling } = readProperties(reader, WILL_PROPERTIES);
  const topic = reader.text();
  if (topic === "" || /[+#]/.test(topic))
    throw new ProtocolError(ReasonCode.topicInvalid, "the topic of the will is empty or contains a wildcard");
  const payload = reader.binary();
  if (properties.payloadFormat === 1 && !isUtf8(payload))
    throw new ProtocolError(ReasonCode.payloadFormatInvalid, "the payload of the will is not UTF-8");
  const { willDelay: delay = 0, messageExpiry: expiry } = properties;
  return { topic, payload, qos: level === 2 ? 2 : level === 1 ? 1 : 0, retain, delay, expiry, travelling };
}

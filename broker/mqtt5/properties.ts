import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { malformed, ProtocolError, protocolError, ReasonCode } from "./reason-codes.ts";

/** The identifiers of properties, MQTT 5.0, section 2.2.2.2. */
export const PropertyId = {
  payloadFormat: 0x01,
  messageExpiry: 0x02,
  contentType: 0x03,
  responseTopic: 0x08,
  correlationData: 0x09,
  subscriptionIdentifier: 0x0b,
  sessionExpiry: 0x11,
  assignedClientId: 0x12,
  serverKeepAlive: 0x13,
  authenticationMethod: 0x15,
  authenticationData: 0x16,
  requestProblemInformation: 0x17,
  willDelay: 0x18,
  requestResponseInformation: 0x19,
  reasonString: 0x1f,
  receiveMaximum: 0x21,
  topicAliasMaximum: 0x22,
  topicAlias: 0x23,
  userProperty: 0x26,
  maximumPacketSize: 0x27,
} as const;
export type PropertyId = (typeof PropertyId)[keyof typeof PropertyId];

export type UserProperty = readonly [name: string, value: string];

/** The properties that a client may send. Intervals are in seconds. */
export interface Properties {
  /** 1: the payload is UTF-8. */
  payloadFormat?: 0 | 1;
  messageExpiry?: number;
  contentType?: string;
  responseTopic?: string;
  correlationData?: Uint8Array;
  subscriptionIdentifier?: number;
  sessionExpiry?: number;
  authenticationMethod?: string;
  authenticationData?: Uint8Array;
  requestProblemInformation?: 0 | 1;
  willDelay?: number;
  requestResponseInformation?: 0 | 1;
  reasonString?: string;
  receiveMaximum?: number;
  topicAliasMaximum?: number;
  topicAlias?: number;
  /** In the order of the packet [MQTT-3.3.2-18]. */
  userProperties?: UserProperty[];
  maximumPacketSize?: number;
}

/** The properties that travel from the publisher of a message to its subscribers [MQTT-3.3.2-17]. */
export type MessageProperties = Pick<
  Properties,
  "payloadFormat" | "contentType" | "responseTopic" | "correlationData" | "userProperties"
>;

const TRAVELLING: ReadonlySet<number> = new Set([
  ...[PropertyId.payloadFormat, PropertyId.contentType, PropertyId.responseTopic, PropertyId.correlationData],
  PropertyId.userProperty,
]);

interface ReadProperties {
  readonly properties: Properties;
  /** The properties that travel, as {@link encodeProperties} encodes them. Undefined: none. */
  readonly travelling: Uint8Array | undefined;
}

const NONE: ReadProperties = { properties: {}, travelling: undefined };

/**
 * Reads the length of the properties, and the properties. @param allowed the identifiers that the packet may have
 * @throws {ProtocolError} a property is malformed, unknown, not allowed or given twice, or has an impossible value
 */
export function readProperties(packet: ByteReader, allowed: ReadonlySet<number>): ReadProperties {
  const length = packet.variable();
  if (length === 0) return NONE;
  const reader = packet.part(length);
  const properties: Properties = {};
  const parts: Uint8Array[] = [];
  let from = reader.at;
  while (!reader.isAtEnd) {
    const start = reader.at;
    const id = reader.variable();
    if (!allowed.has(id)) throw malformed(`the property ${id} is not allowed in this packet`);
    readProperty(reader, id, properties);
    if (TRAVELLING.has(id)) continue;
    if (start > from) parts.push(reader.bytes.subarray(from, start));
    from = reader.at;
  }
  if (reader.end > from) parts.push(reader.bytes.subarray(from, reader.end));
  const [first] = parts;
  return { properties, travelling: parts.length > 1 ? Buffer.concat(parts) : first };
}

function readProperty(reader: ByteReader, id: number, to: Properties): void {
  switch (id) {
    case PropertyId.payloadFormat:
      to.payloadFormat = once(to.payloadFormat, flag(reader));
      break;
    case PropertyId.messageExpiry:
      to.messageExpiry = once(to.messageExpiry, reader.fourBytes());
      break;
    case PropertyId.contentType:
      to.contentType = once(to.contentType, reader.text());
      break;
    case PropertyId.responseTopic:
      to.responseTopic = once(to.responseTopic, topicName(reader.text()));
      break;
    case PropertyId.correlationData:
      to.correlationData = once(to.correlationData, reader.binary());
      break;
    case PropertyId.subscriptionIdentifier:
      to.subscriptionIdentifier = once(to.subscriptionIdentifier, positive(reader.variable()));
      break;
    case PropertyId.sessionExpiry:
      to.sessionExpiry = once(to.sessionExpiry, reader.fourBytes());
      break;
    case PropertyId.authenticationMethod:
      to.authenticationMethod = once(to.authenticationMethod, reader.text());
      break;
    case PropertyId.authenticationData:
      to.authenticationData = once(to.authenticationData, reader.binary());
      break;
    case PropertyId.requestProblemInformation:
      to.requestProblemInformation = once(to.requestProblemInformation, flag(reader));
      break;
    case PropertyId.willDelay:
      to.willDelay = once(to.willDelay, reader.fourBytes());
      break;
    case PropertyId.requestResponseInformation:
      to.requestResponseInformation = once(to.requestResponseInformation, flag(reader));
      break;
    case PropertyId.reasonString:
      to.reasonString = once(to.reasonString, reader.text());
      break;
    case PropertyId.receiveMaximum:
      to.receiveMaximum = once(to.receiveMaximum, positive(reader.twoBytes()));
      break;
    case PropertyId.topicAliasMaximum:
      to.topicAliasMaximum = once(to.topicAliasMaximum, reader.twoBytes());
      break;
    case PropertyId.topicAlias:
      to.topicAlias = once(to.topicAlias, reader.twoBytes());
      break;
    case PropertyId.userProperty:
      to.userProperties ??= [];
      to.userProperties.push([reader.text(), reader.text()]);
      break;
    case PropertyId.maximumPacketSize:
      to.maximumPacketSize = once(to.maximumPacketSize, positive(reader.fourBytes()));
      break;
    default:
      throw malformed(`the property ${id} is unknown`);
  }
}

/** @throws {ProtocolError} the packet has the property already */
function once<Value>(known: Value | undefined, value: Value): Value {
  if (known !== undefined) throw protocolError("a property is given twice");
  return value;
}

function flag(reader: ByteReader): 0 | 1 {
  const value = reader.byte();
  if (value > 1) throw protocolError(`a property that must be 0 or 1 is ${value}`);
  return value === 1 ? 1 : 0;
}

function positive(value: number): number {
  if (value === 0) throw protocolError("a property that must not be 0 is 0");
  return value;
}

/** [MQTT-3.3.2-14] */
function topicName(text: string): string {
  if (text === "" || /[+#]/.test(text))
    throw new ProtocolError(ReasonCode.topicInvalid, "the response topic is empty or contains a wildcard");
  return text;
}

/**
 * Encodes the properties that travel with a message, as a PUBLISH contains them, without their length.
 * @returns undefined when there are none @throws {RangeError} a text or the correlation data exceeds 65,535 bytes
 */
export function encodeProperties(properties: MessageProperties): Uint8Array | undefined {
  const writer = new ByteWriter();
  const { payloadFormat, contentType, responseTopic, correlationData, userProperties = [] } = properties;
  if (payloadFormat !== undefined) writer.byte(PropertyId.payloadFormat).byte(payloadFormat);
  if (contentType !== undefined) writer.byte(PropertyId.contentType).text(contentType);
  if (responseTopic !== undefined) writer.byte(PropertyId.responseTopic).text(responseTopic);
  if (correlationData !== undefined) writer.byte(PropertyId.correlationData).binary(correlationData);
  for (const [name, value] of userProperties) writer.byte(PropertyId.userProperty).text(name).text(value);
  return writer.length === 0 ? undefined : writer.bytes();
}

/** @param bytes from {@link encodeProperties} or {@link readProperties} @throws {ProtocolError} others */
export function decodeProperties(bytes: Uint8Array): MessageProperties {
  const reader = new ByteReader(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  const properties: Properties = {};
  while (!reader.isAtEnd) {
    const id = reader.variable();
    if (!TRAVELLING.has(id)) throw malformed(`the property ${id} does not travel with a message`);
    readProperty(reader, id, properties);
  }
  return properties;
}

import type { ByteReader } from "./byte-reader.ts";
import { type Properties, PropertyId, readProperties } from "./properties.ts";
import { malformed, protocolError } from "./reason-codes.ts";

const PUBLISH_PROPERTIES: ReadonlySet<number> = new Set([
  ...[PropertyId.payloadFormat, PropertyId.messageExpiry, PropertyId.topicAlias, PropertyId.responseTopic],
  ...[PropertyId.correlationData, PropertyId.userProperty, PropertyId.contentType],
]);
const SUBSCRIBE_PROPERTIES: ReadonlySet<number> = new Set([PropertyId.subscriptionIdentifier, PropertyId.userProperty]);
const UNSUBSCRIBE_PROPERTIES: ReadonlySet<number> = new Set([PropertyId.userProperty]);
const ACKNOWLEDGEMENT_PROPERTIES: ReadonlySet<number> = new Set([PropertyId.reasonString, PropertyId.userProperty]);
const DISCONNECT_PROPERTIES: ReadonlySet<number> = new Set([
  ...[PropertyId.sessionExpiry, PropertyId.reasonString, PropertyId.userProperty],
]);

export interface Publish {
  /** Empty when the topic alias names the topic. */
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly dup: boolean;
  /** 0 for QoS 0. */
  readonly messageId: number;
  readonly properties: Properties;
  /** The properties that travel with the message. */
  readonly travelling: Uint8Array | undefined;
}

/** @throws {ProtocolError} */
export function decodePublish(reader: ByteReader, flags: number): Publish {
  const level = (flags >> 1) & 3;
  if (level === 3) throw malformed("a PUBLISH of QoS 3 [MQTT-3.3.1-4]");
  const qos = level === 2 ? 2 : level === 1 ? 1 : 0;
  const dup = (flags & 8) !== 0;
  if (dup && qos === 0) throw malformed("a PUBLISH of QoS 0 has the DUP flag [MQTT-3.3.1-2]");
  const topic = reader.text();
  const messageId = qos === 0 ? 0 : readMessageId(reader);
  // A subscription identifier in a PUBLISH of a client is refused too [MQTT-3.3.4-6].
  const { properties, travelling } = readProperties(reader, PUBLISH_PROPERTIES);
  const payload = reader.rest();
  return { topic, payload, qos, retain: (flags & 1) !== 0, dup, messageId, properties, travelling };
}

export interface SubscribeEntry {
  readonly filter: string;
  readonly qos: 0 | 1 | 2;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  /** 0: retained messages come; 1: only for a new subscription; 2: never. */
  readonly retainHandling: 0 | 1 | 2;
}

export interface Subscribe {
  readonly messageId: number;
  readonly identifier: number | undefined;
  readonly entries: readonly SubscribeEntry[];
}

/** @throws {ProtocolError} */
export function decodeSubscribe(reader: ByteReader): Subscribe {
  const messageId = readMessageId(reader);
  const { properties } = readProperties(reader, SUBSCRIBE_PROPERTIES);
  const entries: SubscribeEntry[] = [];
  while (!reader.isAtEnd) entries.push(readEntry(reader));
  if (entries.length === 0) throw protocolError("a SUBSCRIBE without a filter [MQTT-3.8.3-2]");
  return { messageId, identifier: properties.subscriptionIdentifier, entries };
}

function readEntry(reader: ByteReader): SubscribeEntry {
  const filter = reader.text();
  const options = reader.byte();
  if ((options & 0xc0) !== 0) throw malformed("reserved subscription options are set [MQTT-3.8.3-5]");
  const qos = levelOf(options & 3, "a subscription has QoS 3");
  const retainHandling = levelOf((options >> 4) & 3, "a subscription has retain handling 3");
  const noLocal = (options & 4) !== 0;
  return { filter, qos, noLocal, retainAsPublished: (options & 8) !== 0, retainHandling };
}

function levelOf(bits: number, problem: string): 0 | 1 | 2 {
  if (bits === 3) throw protocolError(problem);
  return bits === 2 ? 2 : bits === 1 ? 1 : 0;
}

export interface Unsubscribe {
  readonly messageId: number;
  readonly filters: readonly string[];
}

/** @throws {ProtocolError} */
export function decodeUnsubscribe(reader: ByteReader): Unsubscribe {
  const messageId = readMessageId(reader);
  readProperties(reader, UNSUBSCRIBE_PROPERTIES);
  const filters: string[] = [];
  while (!reader.isAtEnd) filters.push(reader.text());
  if (filters.length === 0) throw protocolError("an UNSUBSCRIBE without a filter [MQTT-3.10.3-2]");
  return { messageId, filters };
}

/** PUBACK, PUBREC, PUBREL or PUBCOMP. */
export interface Acknowledgement {
  readonly messageId: number;
  readonly reasonCode: number;
}

/** @throws {ProtocolError} */
export function decodeAcknowledgement(reader: ByteReader): Acknowledgement {
  const messageId = readMessageId(reader);
  const reasonCode = reader.isAtEnd ? 0 : reader.byte();
  readToEnd(reader, ACKNOWLEDGEMENT_PROPERTIES);
  return { messageId, reasonCode };
}

export interface Disconnect {
  readonly reasonCode: number;
  /** Seconds. Undefined: as in CONNECT. */
  readonly sessionExpiry: number | undefined;
}

/** @throws {ProtocolError} */
export function decodeDisconnect(reader: ByteReader): Disconnect {
  const reasonCode = reader.isAtEnd ? 0 : reader.byte();
  return { reasonCode, sessionExpiry: readToEnd(reader, DISCONNECT_PROPERTIES).sessionExpiry };
}

/** The packet may end before its properties. */
function readToEnd(reader: ByteReader, allowed: ReadonlySet<number>): Properties {
  if (reader.isAtEnd) return {};
  const { properties } = readProperties(reader, allowed);
  if (!reader.isAtEnd) throw malformed("a packet has more bytes than its fields");
  return properties;
}

/** [MQTT-2.2.1-3] */
function readMessageId(reader: ByteReader): number {
  const messageId = reader.twoBytes();
  if (messageId === 0) throw protocolError("a packet identifier is 0");
  return messageId;
}

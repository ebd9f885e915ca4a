import { ByteWriter, shortened, variableBytes } from "./byte-writer.ts";
import { PacketType, requiredFlags } from "./packet-types.ts";
import { PropertyId } from "./properties.ts";

/** The reason strings that we send are short. A name of a client may make one longer. */
const MAX_REASON_BYTES = 512;

export const PINGRESP = Buffer.from([PacketType.pingresp << 4, 0]);

export interface Connack {
  readonly reasonCode: number;
  readonly sessionPresent?: boolean;
  readonly reason?: string | undefined;
  /** Seconds. Only if it differs from what the client asked for. */
  readonly sessionExpiry?: number | undefined;
  readonly receiveMaximum?: number;
  readonly maximumPacketSize?: number | undefined;
  readonly assignedClientId?: string | undefined;
  readonly topicAliasMaximum?: number;
  /** Seconds. */
  readonly serverKeepAlive?: number | undefined;
}

export function encodeConnack(connack: Connack): Buffer {
  const { reasonCode, sessionPresent = false } = connack;
  const properties = new ByteWriter();
  const { sessionExpiry, receiveMaximum, maximumPacketSize, assignedClientId, topicAliasMaximum } = connack;
  if (sessionExpiry !== undefined) properties.byte(PropertyId.sessionExpiry).fourBytes(sessionExpiry);
  if (receiveMaximum !== undefined) properties.byte(PropertyId.receiveMaximum).twoBytes(receiveMaximum);
  if (maximumPacketSize !== undefined) properties.byte(PropertyId.maximumPacketSize).fourBytes(maximumPacketSize);
  if (assignedClientId !== undefined) properties.byte(PropertyId.assignedClientId).text(assignedClientId);
  if (topicAliasMaximum !== undefined) properties.byte(PropertyId.topicAliasMaximum).twoBytes(topicAliasMaximum);
  if (connack.serverKeepAlive !== undefined)
    properties.byte(PropertyId.serverKeepAlive).twoBytes(connack.serverKeepAlive);
  writeReason(properties, connack.reason);
  const body = new ByteWriter().byte(sessionPresent ? 1 : 0).byte(reasonCode);
  return packet(PacketType.connack, body.variable(properties.length).raw(properties.bytes()));
}

/** PUBACK, PUBREC, PUBREL or PUBCOMP. */
export function encodeAcknowledgement(type: number, messageId: number, reasonCode = 0, reason?: string): Buffer {
  if (reasonCode === 0 && reason === undefined) {
    const short = Buffer.allocUnsafe(4);
    short[0] = (type << 4) | requiredFlags(type);
    short[1] = 2;
    short.writeUInt16BE(messageId, 2);
    return short;
  }
  const body = new ByteWriter().twoBytes(messageId).byte(reasonCode);
  if (reason !== undefined) writeReasonOnly(body, reason);
  return packet(type, body);
}

/** SUBACK or UNSUBACK. */
export function encodeGrants(type: number, messageId: number, codes: readonly number[], reason?: string): Buffer {
  const body = new ByteWriter().twoBytes(messageId);
  writeReasonOnly(body, reason);
  for (const code of codes) body.byte(code);
  return packet(type, body);
}

export function encodeDisconnect(reasonCode: number, reason?: string): Buffer {
  const body = new ByteWriter().byte(reasonCode);
  if (reason !== undefined) writeReasonOnly(body, reason);
  return packet(PacketType.disconnect, body);
}

function writeReasonOnly(body: ByteWriter, reason: string | undefined): void {
  const properties = new ByteWriter();
  writeReason(properties, reason);
  body.variable(properties.length).raw(properties.bytes());
}

function writeReason(properties: ByteWriter, reason: string | undefined): void {
  if (reason !== undefined) properties.byte(PropertyId.reasonString).text(shortened(reason, MAX_REASON_BYTES));
}

function packet(type: number, body: ByteWriter): Buffer {
  const bytes = Buffer.allocUnsafe(1 + variableBytes(body.length) + body.length);
  bytes[0] = (type << 4) | requiredFlags(type);
  let at = 1;
  for (let rest = body.length; ; rest >>>= 7) {
    bytes[at++] = rest > 127 ? (rest & 0x7f) | 0x80 : rest;
    if (rest <= 127) break;
  }
  bytes.set(body.bytes(), at);
  return bytes;
}

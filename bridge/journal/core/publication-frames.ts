import type { LoggedPublication } from "../../../platform/publication-log.ts";
import type { Publication } from "../journal.ts";

/**
 * The part of a stored publication that both stores share. It is binary because payloads are arbitrary bytes.
 *
 * ```
 * flags: uint8 | bytes of topic: uint32 | of payload: uint32 | topic | payload
 *   | if bit 4: bytes of publisher: uint16 | publisher
 *   | if bit 5: expiry: float64
 *   | if bit 6: bytes of properties: uint32 | properties
 * flags: bits 0-1 QoS, bit 2 retain, bit 3 changes state (Redis only), bit 7: `payload` is the UTF-8 name of a payload
 *   that another store keeps
 * ```
 */
const HEAD_BYTES = 9;
const RETAIN = 4;
const CHANGES_STATE = 8;
const PUBLISHER = 16;
const EXPIRY = 32;
const PROPERTIES = 64;
const REFERENCE = 128;
const NO_PAYLOAD = Buffer.alloc(0);

/** UTF-8 needs at most three bytes for a UTF-16 unit. Reserving three is cheaper than measuring the text. */
export function maxFrameBytes(topic: string, publication: Publication): number {
  const { payload, publisher, expiresAt, properties, reference } = publication;
  const payloadBytes = reference === undefined ? payload.byteLength : reference.length * 3;
  let bytes = HEAD_BYTES + topic.length * 3 + payloadBytes;
  if (publisher !== undefined) bytes += 2 + publisher.length * 3;
  if (expiresAt !== undefined) bytes += 8;
  if (properties !== undefined) bytes += 4 + properties.byteLength;
  return bytes;
}

/** @returns the offset after the publication */
export function writeFrame(
  target: Buffer,
  start: number,
  topic: string,
  { payload, qos, retain, publisher, expiresAt, properties, reference }: Publication,
  changesState = false,
): number {
  let flags = qos | (retain ? RETAIN : 0) | (changesState ? CHANGES_STATE : 0);
  const topicBytes = target.write(topic, start + HEAD_BYTES);
  target.writeUInt32BE(topicBytes, start + 1);
  let at = start + HEAD_BYTES + topicBytes;
  let payloadBytes = payload.byteLength;
  if (reference === undefined) target.set(payload, at);
  else {
    flags |= REFERENCE;
    payloadBytes = target.write(reference, at);
  }
  target.writeUInt32BE(payloadBytes, start + 5);
  at += payloadBytes;
  if (publisher !== undefined) {
    flags |= PUBLISHER;
    const publisherBytes = target.write(publisher, at + 2);
    at = target.writeUInt16BE(publisherBytes, at) + publisherBytes;
  }
  if (expiresAt !== undefined) {
    flags |= EXPIRY;
    at = target.writeDoubleBE(expiresAt, at);
  }
  if (properties !== undefined) {
    flags |= PROPERTIES;
    at = target.writeUInt32BE(properties.byteLength, at);
    target.set(properties, at);
    at += properties.byteLength;
  }
  target.writeUInt8(flags, start);
  return at;
}

export interface Frame extends Publication {
  payload: Buffer;
  topic: string;
  changesState: boolean;
  publisher?: string;
  expiresAt?: number;
  properties?: Uint8Array;
}

/** @returns the publication, and the offset after it @throws {RangeError} the frame is damaged */
export function readFrame(source: Buffer, start: number): [frame: Frame, end: number] {
  const flags = source.readUInt8(start);
  const topicEnd = start + HEAD_BYTES + source.readUInt32BE(start + 1);
  let at = topicEnd + source.readUInt32BE(start + 5);
  if (at > source.length) throw new RangeError("a stored publication is cut off");
  const qos = flags & 3;
  const frame: Frame = {
    topic: source.toString("utf8", start + HEAD_BYTES, topicEnd),
    payload: source.subarray(topicEnd, at),
    qos: qos === 2 ? 2 : qos === 1 ? 1 : 0,
    retain: (flags & RETAIN) !== 0,
    changesState: (flags & CHANGES_STATE) !== 0,
  };
  if ((flags & REFERENCE) !== 0) {
    frame.reference = frame.payload.toString();
    frame.payload = NO_PAYLOAD;
  }
  if ((flags & PUBLISHER) !== 0) {
    const end = at + 2 + source.readUInt16BE(at);
    frame.publisher = source.toString("utf8", at + 2, end);
    at = end;
  }
  if ((flags & EXPIRY) !== 0) {
    frame.expiresAt = source.readDoubleBE(at);
    at += 8;
  }
  if ((flags & PROPERTIES) !== 0) {
    const end = at + 4 + source.readUInt32BE(at);
    frame.properties = source.subarray(at + 4, end);
    at = end;
  }
  if (at > source.length) throw new RangeError("a stored publication is cut off");
  return [frame, at];
}

/** The publication of an accepted message, at its position. */
export function loggedPublication(position: number, topic: string, publication: Publication): LoggedPublication {
  const { payload, qos, retain, publisher, expiresAt, properties, reference } = publication;
  const bytes = Buffer.isBuffer(payload)
    ? payload
    : Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
  // Written out, with the same fields in the same order, because each accepted message passes here.
  return { position, topic, payload: bytes, qos, retain, publisher, expiresAt, properties, reference };
}

/** A message in a session's queue, or the PUBREL that has replaced the message. */
export interface QueuedMessage {
  isPubrel: boolean;
  topic: string;
  payload: Buffer;
  qos: 0 | 1 | 2;
  retain: boolean;
  /** Undefined: the message has not been sent to the session's client. */
  messageId: number | undefined;
}

/**
 * ```
 * flags: uint8 | bytes of broker id: uint8 | message id, or 0: uint16 | counter: float64 | bytes of topic: uint32
 *   | bytes of payload: uint32 | broker id | topic | payload
 * flags: bits 0-1 QoS, bit 3 retain, bit 4 PUBREL
 * ```
 */
const HEADER_BYTES = 20;
const RETAIN = 8;
const PUBREL = 16;

/** Decodes a row of a queue, or of a retained message. @throws {RangeError} the row is damaged */
export function decodeMessage(row: Buffer): QueuedMessage {
  const flags = row.readUInt8(0);
  const topicAt = HEADER_BYTES + row.readUInt8(1);
  const payloadAt = topicAt + row.readUInt32BE(12);
  const end = payloadAt + row.readUInt32BE(16);
  if (end !== row.length) throw new RangeError("a stored message is damaged");
  const qos = flags & 3;
  return {
    isPubrel: (flags & PUBREL) !== 0,
    topic: row.toString("utf8", topicAt, payloadAt),
    payload: row.subarray(payloadAt, end),
    qos: qos === 2 ? 2 : qos === 1 ? 1 : 0,
    retain: (flags & RETAIN) !== 0,
    messageId: row.readUInt16BE(2) || undefined,
  };
}

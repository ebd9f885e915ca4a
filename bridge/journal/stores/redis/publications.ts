import type { JournalMessage } from "../../journal.ts";

type Publication = NonNullable<JournalMessage["publish"]>;

/** A publication of a batch, as stored until it is delivered to the MQTT subscribers. */
interface StoredPublication extends Publication {
  /** Its place in the batch, from 1. */
  place: number;
  topic: string;
  /** Whether it changes the state of its topic. */
  changesState: boolean;
}

/**
 * The value with the publications of one batch. The format is binary because payloads are arbitrary bytes.
 *
 * ```
 * for each: place: uint16 | flags: uint8 | bytes of topic: uint32 | of payload: uint32 | topic | payload
 * flags: bits 0-1 QoS, bit 2 retain, bit 3 changes state
 * ```
 */
const FRAME_BYTES = 11;
const RETAIN = 4;
const CHANGES_STATE = 8;

/** Encodes the messages that are forwarded. The result is empty when no message is forwarded. */
export function encodePublications(messages: readonly JournalMessage[]): { bytes: Buffer; places: number[] } {
  let bytes = 0;
  // UTF-8 needs at most three bytes for a UTF-16 unit. Reserving them is cheaper than measuring the text.
  for (const { topic, publish } of messages)
    if (publish !== undefined) bytes += FRAME_BYTES + topic.length * 3 + publish.payload.byteLength;
  const value = Buffer.allocUnsafe(bytes);
  const places: number[] = [];
  let at = 0;
  for (const [index, { topic, publish, state }] of messages.entries()) {
    if (publish === undefined) continue;
    const { payload, qos, retain } = publish;
    const topicBytes = value.write(topic, at + FRAME_BYTES);
    value.writeUInt16BE(index + 1, at);
    value.writeUInt8(qos | (retain ? RETAIN : 0) | (state === undefined ? 0 : CHANGES_STATE), at + 2);
    value.writeUInt32BE(topicBytes, at + 3);
    value.writeUInt32BE(payload.byteLength, at + 7);
    value.set(payload, at + FRAME_BYTES + topicBytes);
    at += FRAME_BYTES + topicBytes + payload.byteLength;
    places.push(index + 1);
  }
  return { bytes: value.subarray(0, at), places };
}

export function decodePublications(value: Buffer): StoredPublication[] {
  const publications: StoredPublication[] = [];
  for (let at = 0; at < value.length; ) {
    const flags = value.readUInt8(at + 2);
    const topicEnd = at + FRAME_BYTES + value.readUInt32BE(at + 3);
    const payloadEnd = topicEnd + value.readUInt32BE(at + 7);
    const qos = flags & 3;
    publications.push({
      place: value.readUInt16BE(at),
      topic: value.toString("utf8", at + FRAME_BYTES, topicEnd),
      payload: value.subarray(topicEnd, payloadEnd),
      qos: qos === 0 ? 0 : qos === 1 ? 1 : 2,
      retain: (flags & RETAIN) !== 0,
      changesState: (flags & CHANGES_STATE) !== 0,
    });
    at = payloadEnd;
  }
  return publications;
}

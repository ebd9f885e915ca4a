import type { Publication } from "../journal.ts";

/**
 * The part of a stored publication that both stores share. It is binary because payloads are arbitrary bytes.
 *
 * ```
 * flags: uint8 | bytes of topic: uint32 | of payload: uint32 | topic | payload
 * flags: bits 0-1 QoS, bit 2 retain, bit 3 changes state (Redis only)
 * ```
 */
const HEAD_BYTES = 9;
const RETAIN = 4;
const CHANGES_STATE = 8;

/** UTF-8 needs at most three bytes for a UTF-16 unit. Reserving three is cheaper than measuring the text. */
export function maxFrameBytes(topic: string, { payload }: Publication): number {
  return HEAD_BYTES + topic.length * 3 + payload.byteLength;
}

/** @returns the offset after the publication */
export function writeFrame(
  target: Buffer,
  at: number,
  topic: string,
  { payload, qos, retain }: Publication,
  changesState = false,
): number {
  const topicBytes = target.write(topic, at + HEAD_BYTES);
  target.writeUInt8(qos | (retain ? RETAIN : 0) | (changesState ? CHANGES_STATE : 0), at);
  target.writeUInt32BE(topicBytes, at + 1);
  target.writeUInt32BE(payload.byteLength, at + 5);
  target.set(payload, at + HEAD_BYTES + topicBytes);
  return at + HEAD_BYTES + topicBytes + payload.byteLength;
}

export interface Frame extends Publication {
  topic: string;
  changesState: boolean;
}

/** @returns the publication, and the offset after it */
export function readFrame(source: Buffer, at: number): [frame: Frame, end: number] {
  const flags = source.readUInt8(at);
  const topicEnd = at + HEAD_BYTES + source.readUInt32BE(at + 1);
  const end = topicEnd + source.readUInt32BE(at + 5);
  const qos = flags & 3;
  const frame: Frame = {
    topic: source.toString("utf8", at + HEAD_BYTES, topicEnd),
    payload: source.subarray(topicEnd, end),
    qos: qos === 0 ? 0 : qos === 1 ? 1 : 2,
    retain: (flags & RETAIN) !== 0,
    changesState: (flags & CHANGES_STATE) !== 0,
  };
  return [frame, end];
}

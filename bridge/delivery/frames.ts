import type { ServerMessage } from "../../contract/socket-messages.ts";

/** The fields of an event that are the same for every receiver. */
interface EventFields {
  /** The contract allows no character that needs escaping, here and in `timestamp` and `id`. */
  event: string;
  data: unknown;
  /** The JSON text of `data`, if it exists already. */
  dataText: string | undefined;
  timestamp: string;
  id: string | undefined;
  historical: boolean;
  seq: number | undefined;
  /** JSON text: see {@link eventPlace}. */
  place: string;
}

/** The subscribed channels that an event matches; never empty. The first becomes the event's `channel`. */
export type Label = readonly string[];

/** The JSON members `camera` and `topic` of a topic's events. @param topic below the root */
export function eventPlace({ camera, topic }: { camera: string | undefined; topic: string }): string {
  return JSON.stringify({ camera, topic }).slice(1, -1);
}

/** The members of a `dashboard_event`, as JSON text, without the position and the channels of a delivery. */
export function eventBody({ event, data, dataText, timestamp, id, historical, seq, place }: EventFields): string {
  const idMember = id === undefined ? "" : `"id":"${id}",`;
  const historicalMember = historical ? ',"historical":true' : "";
  const seqMember = seq === undefined ? "" : `,"seq":${seq}`;
  return `"event":"${event}","data":${dataText ?? JSON.stringify(data ?? null)},"timestamp":"${timestamp}",${idMember}${place}${historicalMember}${seqMember}`;
}

/** The JSON text of an entry's `data`, found without parsing the body. @param body a result of {@link eventBody} */
export function dataTextOf(body: string): string {
  // The data may contain the text of the `timestamp` member, but the text after the data cannot: the last match counts.
  return body.slice(body.indexOf(DATA) + DATA.length, body.lastIndexOf(',"timestamp":"'));
}

/** @param body a result of {@link eventBody} */
export function eventNameOf(body: string): string {
  return body.slice(EVENT.length, body.indexOf('"', EVENT.length));
}

const EVENT = '"event":"';
const DATA = '","data":';

/** The JSON text of a `dashboard_event`. @param snapshot true for a channel's state, false for a new event */
export function eventText(body: string, position: number, label: Label, snapshot = false): string {
  const channelsMember = label.length > 1 ? `,"channels":${JSON.stringify(label)}` : "";
  const snapshotMember = snapshot ? ',"snapshot":true' : "";
  return `{"type":"dashboard_event",${body},"channel":"${label[0]}"${channelsMember},"position":${position}${snapshotMember}}`;
}

/** A final, unmasked WebSocket text frame (RFC 6455, section 5.2). */
export function textFrame(text: string): Buffer {
  const length = Buffer.byteLength(text);
  const frame = Buffer.allocUnsafe(headerLength(length) + length);
  frame.write(text, writeHeader(frame, 0, length));
  return frame;
}

/** One frame for each text, in one buffer for one write. */
export function textFrames(texts: readonly string[]): Buffer {
  const lengths = texts.map((text) => Buffer.byteLength(text));
  const frames = Buffer.allocUnsafe(lengths.reduce((sum, length) => sum + headerLength(length) + length, 0));
  let offset = 0;
  for (const [index, text] of texts.entries()) {
    offset = writeHeader(frames, offset, lengths[index] ?? 0);
    offset += frames.write(text, offset);
  }
  return frames;
}

export function messageFrame(message: ServerMessage): Buffer {
  return textFrame(JSON.stringify(message));
}

/** A WebSocket ping without payload (RFC 6455, section 5.5.2). */
const PING = Buffer.of(0x89, 0x00);

/**
 * A WebSocket ping, which every client answers by itself, and a ping of this protocol.
 * @param position everything up to this position was delivered; undefined while the position is unknown
 */
export function pingFrames(position: number | undefined): Buffer {
  return Buffer.concat([PING, messageFrame({ type: "ping", position })]);
}

function headerLength(length: number): number {
  return length < 126 ? 2 : length < 65_536 ? 4 : 10;
}

/** @returns the offset of the payload */
function writeHeader(target: Buffer, offset: number, length: number): number {
  target[offset] = 0x81;
  if (length < 126) {
    target[offset + 1] = length;
    return offset + 2;
  }
  if (length < 65_536) {
    target[offset + 1] = 126;
    return target.writeUInt16BE(length, offset + 2);
  }
  target[offset + 1] = 127;
  return target.writeBigUInt64BE(BigInt(length), offset + 2);
}

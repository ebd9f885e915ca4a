import type { ServerMessage } from "../../contract/socket-messages.ts";

/** What a delivery of an event says that is the same for every receiver. */
export interface EventFields {
  /** Of the contract's form, as `timestamp` and `id` are: nothing in it needs to be escaped. */
  event: string;
  data: unknown;
  /** The JSON text of `data`, when there is one already. */
  dataText: string | undefined;
  timestamp: string;
  id: string | undefined;
  historical: boolean;
  /** The number its sender gave it. */
  seq: number | undefined;
  /** Where it belongs: see {@link eventPlace}. */
  place: string;
}

/** The subscribed channels that an event matches; never empty. The first is the one it is said to come by. */
export type Label = readonly string[];

/** What an event says of where it belongs, the same for all events of a topic. @param topic below the root */
export function eventPlace({ camera, topic }: { camera: string | undefined; topic: string }): string {
  return JSON.stringify({ camera, topic }).slice(1, -1);
}

/** The inside of the JSON object that dashboards get, but for what only a delivery knows: position and channels. */
export function eventBody({ event, data, dataText, timestamp, id, historical, seq, place }: EventFields): string {
  const named = id === undefined ? "" : `"id":"${id}",`;
  const late = historical ? ',"historical":true' : "";
  const number = seq === undefined ? "" : `,"seq":${seq}`;
  return `"event":"${event}","data":${dataText ?? JSON.stringify(data ?? null)},"timestamp":"${timestamp}",${named}${place}${late}${number}`;
}

/** The JSON text of an entry's `data`, found without parsing it. @param body as {@link eventBody} makes it */
export function dataTextOf(body: string): string {
  // Behind the data there are names of the contract's form only, and a quote within a text of the data is escaped.
  return body.slice(body.indexOf(DATA) + DATA.length, body.lastIndexOf(',"timestamp":"'));
}

/** @param body as {@link eventBody} makes it */
export function eventNameOf(body: string): string {
  return body.slice(EVENT.length, body.indexOf('"', EVENT.length));
}

const EVENT = '"event":"';
const DATA = '","data":';

/** @param snapshot part of the state at the moment of subscribing, not something that happens now */
export function eventText(body: string, position: number, label: Label, snapshot = false): string {
  const channels = label.length > 1 ? `,"channels":${JSON.stringify(label)}` : "";
  const mark = snapshot ? ',"snapshot":true' : "";
  return `{"type":"dashboard_event",${body},"channel":"${label[0]}"${channels},"position":${position}${mark}}`;
}

/** One whole WebSocket text frame: final, not masked, as servers send (RFC 6455, section 5.2). */
export function textFrame(text: string): Buffer {
  const length = Buffer.byteLength(text);
  const frame = Buffer.allocUnsafe(headerLength(length) + length);
  frame.write(text, writeHeader(frame, 0, length));
  return frame;
}

/** Several frames in one buffer, for one write. */
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
 * Both pings in one write: of the WebSocket, which every client answers unasked, and of this protocol.
 * @param position left out while it is not known that everything up to it was delivered
 */
export function pingFrames(position: number | undefined): Buffer {
  return Buffer.concat([PING, messageFrame({ type: "ping", position })]);
}

function headerLength(length: number): number {
  return length < 126 ? 2 : length < 65_536 ? 4 : 10;
}

/** @returns where the payload begins */
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

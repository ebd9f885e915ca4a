import type { DeliveredPacket } from "../aedes/propertied-packet.ts";
import { variableBytes } from "./byte-writer.ts";
import { PacketType } from "./packet-types.ts";
import { PropertyId } from "./properties.ts";

const NOTHING = Buffer.alloc(0);

/** A message as clients get it. */
export interface Message {
  readonly topic: string;
  readonly payload: Buffer;
  /** The properties that travel with the message, encoded. */
  readonly properties?: Uint8Array | undefined;
  /** Not sent from this moment on, milliseconds since 1970. */
  readonly expiresAt?: number | undefined;
}

/** What differs between the deliveries of a message. */
export interface FrameOptions {
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly dup: boolean;
  /** Seconds until the message expires. */
  readonly expiry?: number | undefined;
  readonly identifiers?: readonly number[] | undefined;
  readonly alias?: number | undefined;
  /** Whether the alias stands for the topic, which is left out. */
  readonly omitsTopic?: boolean;
}

/** An encoded PUBLISH in two parts. The payload is not copied. */
export interface PublishFrame {
  /** All before the payload. */
  readonly head: Buffer;
  readonly payload: Buffer;
  /** Where the message id belongs in the head. Undefined for QoS 0. */
  readonly idAt: number | undefined;
  readonly length: number;
}

export function encodePublish({ topic, payload, properties = NOTHING }: Message, options: FrameOptions): PublishFrame {
  const { qos, retain, dup, expiry, identifiers, alias, omitsTopic = false } = options;
  const topicBytes = omitsTopic ? 0 : Buffer.byteLength(topic);
  const propertyBytes =
    properties.length +
    (expiry === undefined ? 0 : 5) +
    (alias === undefined ? 0 : 3) +
    (identifiers?.reduce((bytes, identifier) => bytes + 1 + variableBytes(identifier), 0) ?? 0);
  const restBytes = 2 + topicBytes + (qos > 0 ? 2 : 0) + variableBytes(propertyBytes) + propertyBytes;
  const length = restBytes + payload.length;
  const head = Buffer.allocUnsafe(1 + variableBytes(length) + restBytes);
  head[0] = (PacketType.publish << 4) | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0);
  let at = writeVariable(head, length, 1);
  at = head.writeUInt16BE(topicBytes, at);
  if (!omitsTopic) at += head.write(topic, at);
  const idAt = qos > 0 ? at : undefined;
  if (qos > 0) at += 2;
  at = writeVariable(head, propertyBytes, at);
  if (alias !== undefined) {
    head[at] = PropertyId.topicAlias;
    at = head.writeUInt16BE(alias, at + 1);
  }
  if (expiry !== undefined) {
    head[at] = PropertyId.messageExpiry;
    at = head.writeUInt32BE(expiry, at + 1);
  }
  for (const identifier of identifiers ?? []) {
    head[at] = PropertyId.subscriptionIdentifier;
    at = writeVariable(head, identifier, at + 1);
  }
  head.set(properties, at);
  return { head, payload, idAt, length: head.length + payload.length };
}

/** A copy of the head with the message id. */
export function headWithId({ head, idAt }: PublishFrame, messageId: number): Buffer {
  const copy = Buffer.allocUnsafe(head.length);
  head.copy(copy);
  if (idAt !== undefined) copy.writeUInt16BE(messageId, idAt);
  return copy;
}

function writeVariable(to: Buffer, value: number, from: number): number {
  let at = from;
  for (let rest = value; ; rest >>>= 7) {
    to[at++] = rest > 127 ? (rest & 0x7f) | 0x80 : rest;
    if (rest <= 127) return at;
  }
}

/**
 * The encoded frames of the newest message: a message that goes to many clients is encoded once for each QoS and RETAIN
 * flag. (`npm run bench -- --only mqtt5-fan-out`)
 */
export class SharedFrames {
  #of: Message | undefined;
  #frames: (PublishFrame | undefined)[] = [];
  #packet: DeliveredPacket | undefined;
  #message: Message | undefined;

  /** @returns the same object for the same packet, if the packet is the newest */
  messageOf(packet: DeliveredPacket): Message {
    if (packet !== this.#packet || this.#message === undefined) {
      const { topic, payload, stored } = packet;
      const bytes = typeof payload === "string" ? Buffer.from(payload) : payload;
      this.#packet = packet;
      this.#message = { topic, payload: bytes, properties: stored?.properties, expiresAt: stored?.expiresAt };
    }
    return this.#message;
  }

  /** @param message the same object for all clients */
  frameOf(message: Message, qos: 0 | 1 | 2, retain: boolean): PublishFrame {
    if (message !== this.#of) {
      this.#of = message;
      this.#frames = [];
    }
    const index = 2 * qos + (retain ? 1 : 0);
    let frame = this.#frames[index];
    if (frame === undefined) {
      frame = encodePublish(message, { qos, retain, dup: false });
      this.#frames[index] = frame;
    }
    return frame;
  }
}

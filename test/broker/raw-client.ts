import { connect, type Socket } from "node:net";
import { onTestFinished } from "vitest";

/** Packet types of MQTT 3.1.1 section 2.2.1. */
export const TYPE = {
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  suback: 9,
  pingresp: 13,
} as const;

interface RawPacket {
  type: number;
  body: Buffer;
}

/** A client that sends exactly the given bytes and nothing automatically, unlike MQTT.js. */
export interface RawClient {
  socket: Socket;
  /** Packets received and not yet returned by {@link next}. */
  packets: RawPacket[];
  send(bytes: Buffer): void;
  /** The body of the next packet of this type. Returns each packet once. */
  next(type: number): Promise<Buffer>;
  /** The session-present flag of the CONNACK, after {@link rawSession}. */
  sessionPresent?: boolean;
  /** Resolves when the broker has closed the connection. */
  ended: Promise<void>;
}

/** @param localAddress the local address to connect from. Default: 127.0.0.1 */
export async function rawClient(port: number | undefined, localAddress = "127.0.0.1"): Promise<RawClient> {
  const socket = connect({ port: port ?? 0, host: "127.0.0.1", localAddress });
  onTestFinished(() => {
    socket.destroy();
  });
  const packets: RawPacket[] = [];
  const waiting = new Set<() => void>();
  let unread = Buffer.alloc(0);
  socket.on("data", (chunk) => {
    unread = Buffer.concat([unread, chunk]);
    for (let packet = take(); packet !== undefined; packet = take()) packets.push(packet);
    for (const look of waiting) look();
  });
  const take = (): RawPacket | undefined => {
    let length = 0;
    for (let at = 1; at < unread.length; at++) {
      const byte = unread.readUInt8(at);
      length += (byte & 127) * 128 ** (at - 1);
      if (byte > 127) continue;
      if (unread.length <= at + length) return undefined;
      const packet = { type: unread.readUInt8(0) >> 4, body: unread.subarray(at + 1, at + 1 + length) };
      unread = unread.subarray(at + 1 + length);
      return packet;
    }
    return undefined;
  };
  socket.on("error", () => undefined);
  const ended = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  await new Promise<void>((resolve) => socket.once("connect", () => resolve()));
  return {
    socket,
    packets,
    send: (bytes) => {
      socket.write(bytes);
    },
    next: (type) =>
      new Promise((resolve) => {
        const look = (): void => {
          const index = packets.findIndex((packet) => packet.type === type);
          const [packet] = index < 0 ? [] : packets.splice(index, 1);
          if (packet === undefined) return;
          waiting.delete(look);
          resolve(packet.body);
        };
        waiting.add(look);
        look();
      }),
    ended,
  };
}

export interface RawConnect {
  clientId: string;
  username: string;
  password: string;
  /** Default true. */
  clean?: boolean;
  /** Seconds. Default 60. */
  keepalive?: number;
  /** QoS 0, not retained. */
  will?: { topic: string; payload: string };
}

/** Connects and waits for an accepting CONNACK. */
export async function rawSession(
  port: number | undefined,
  options: RawConnect,
  localAddress?: string,
): Promise<RawClient> {
  const client = await rawClient(port, localAddress);
  client.send(connectPacket(options));
  const connack = await client.next(TYPE.connack);
  if (connack.readUInt8(1) !== 0) throw new Error(`refused with ${connack.readUInt8(1)}`);
  return { ...client, sessionPresent: (connack.readUInt8(0) & 1) === 1 };
}

export function connectPacket(options: RawConnect): Buffer {
  const { clientId, username, password, clean = true, keepalive = 60, will } = options;
  const flags = 0xc0 | (clean ? 2 : 0) | (will === undefined ? 0 : 4);
  const head = Buffer.from([4, flags, keepalive >> 8, keepalive & 255]);
  const middle = will === undefined ? [] : [text(will.topic), text(will.payload)];
  return packet(0x10, Buffer.concat([text("MQTT"), head, text(clientId), ...middle, text(username), text(password)]));
}

export interface RawPublish {
  topic: string;
  payload: string;
  qos: 1 | 2;
  id: number;
  dup?: boolean;
}

export function publishPacket({ topic, payload, qos, id, dup = false }: RawPublish): Buffer {
  const body = Buffer.concat([text(topic), Buffer.from([id >> 8, id & 255]), Buffer.from(payload)]);
  return packet(0x30 | (qos << 1) | (dup ? 8 : 0), body);
}

export function subscribePacket(filters: readonly (readonly [filter: string, qos: 0 | 1 | 2])[], id = 1): Buffer {
  const entries = filters.map(([filter, qos]) => Buffer.concat([text(filter), Buffer.from([qos])]));
  return packet(0x82, Buffer.concat([Buffer.from([id >> 8, id & 255]), ...entries]));
}

/** PUBACK, PUBREC, PUBREL or PUBCOMP. */
export function idPacket(type: number, id: number): Buffer {
  return packet((type << 4) | (type === TYPE.pubrel ? 2 : 0), Buffer.from([id >> 8, id & 255]));
}

export const PINGREQ = Buffer.from([0xc0, 0]);

/** A packet of any type, with an arbitrary length field. */
export function packet(firstByte: number, body: Buffer, length = body.length): Buffer {
  const header = [firstByte];
  let rest = length;
  do {
    header.push((rest % 128) | (rest >= 128 ? 128 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.concat([Buffer.from(header), body]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
}

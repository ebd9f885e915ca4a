/** The protocol levels of MQTT 3.1.1 and 5. */
export type MqttLevel = 4 | 5;

/** MQTT packet types, in the upper half of the first byte. */
export const CONNACK = 0x20;
export const PUBLISH = 0x30;
export const PUBACK = 0x40;
export const SUBACK = 0x90;
export const DISCONNECT = Buffer.from([0xe0, 0]);

/** The keep-alive in seconds: longer than any measurement, so the client needs no pings. */
const KEEP_ALIVE_SECONDS = 1200;

export interface Login {
  clientId: string;
  username?: string | undefined;
  password?: string | undefined;
  /** Whether the server forgets the session at the end of the connection. Default true. */
  clean?: boolean | undefined;
  /** Default 4. */
  level?: MqttLevel | undefined;
}

/** The length of no properties in packets of MQTT 5. */
function noProperties(level: MqttLevel): number[] {
  return level === 5 ? [0] : [];
}

export function connectPacket({ clientId, username, password, clean = true, level = 4 }: Login): Buffer {
  const flags = (clean ? 0x02 : 0) | (username === undefined ? 0 : 0x80) | (password === undefined ? 0 : 0x40);
  const fields = [clientId, username, password].filter((field) => field !== undefined);
  const head = Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, level, flags, ...uint16(KEEP_ALIVE_SECONDS)]);
  return packet(0x10, Buffer.concat([head, Buffer.from(noProperties(level)), ...fields.map(string)]));
}

export function subscribePacket(messageId: number, filter: string, qos: number, level: MqttLevel = 4): Buffer {
  const head = Buffer.from([...uint16(messageId), ...noProperties(level)]);
  return packet(0x82, Buffer.concat([head, string(filter), Buffer.from([qos])]));
}

/** The bytes of a PUBLISH before its payload, with message id 0, and the offset of the message id. */
export function publishHead(
  topic: string,
  qos: number,
  payloadBytes: number,
  level: MqttLevel = 4,
): { head: Buffer; idAt: number } {
  const name = string(topic);
  const id = qos === 0 ? [] : [0, 0];
  const properties = noProperties(level);
  const length = name.length + id.length + properties.length + payloadBytes;
  const start = Buffer.from([PUBLISH | (qos << 1), ...remainingLength(length)]);
  const head = Buffer.concat([start, name, Buffer.from([...id, ...properties])]);
  return { head, idAt: start.length + name.length };
}

function packet(type: number, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type, ...remainingLength(body.length)]), body]);
}

/** The variable-length encoding: seven bits a byte, lowest bits first [MQTT-2.2.3]. */
function remainingLength(length: number): number[] {
  const bytes: number[] = [];
  let rest = length;
  do {
    const low = rest & 0x7f;
    rest >>= 7;
    bytes.push(rest > 0 ? low | 0x80 : low);
  } while (rest > 0);
  return bytes;
}

function string(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from(uint16(bytes.length)), bytes]);
}

function uint16(value: number): number[] {
  return [value >> 8, value & 0xff];
}

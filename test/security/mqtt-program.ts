import { once } from "node:events";
import { connectAsync, type IClientOptions, type MqttClient } from "mqtt";
import { onTestFinished } from "vitest";
import { inboxOf, type Received } from "../broker/broker-under-test.ts";
import { connectPacket, packet, type RawClient, type RawConnect, rawClient, TYPE } from "../broker/raw-client.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { openDevicesOf } from "../support/devices.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";
import { frame, upgradeRequest } from "./raw-web-socket.ts";

export const ROOT = "skylapse/v1";
export const OPERATOR_KEY = "operator-key-of-the-tests";
/** The secret of the devices of {@link Program}: the cameras `north` and `south`, and the service `stacker`. */
export const SECRET = "a-secret-of-at-least-thirty-two-characters";

/** The whole program with two cameras, a processing service and a subscriber to every topic. */
export interface Program {
  skylapse: Skylapse;
  port: number;
  /** Connects a client: a device by its id, a user by its permissions. */
  client(who: string | readonly string[], options?: IClientOptions): Promise<MqttClient>;
  /** The topics of all publications since the last call, except publications of the backend. */
  published(): Promise<string[]>;
  stop(): Promise<void>;
}

export async function startProgram(env: Record<string, string> = {}): Promise<Program> {
  const dataPath = makeDataPath();
  const { devices, close } = await openDevicesOf(dataPath);
  for (const id of ["north", "south"]) await devices.set({ id, kind: "camera", secret: SECRET });
  await devices.set({ id: "stacker", kind: "processing", secret: SECRET });
  await close();
  const skylapse = await startSkylapse({ dataPath, env: { JWT_SECRET, OPERATOR_KEY, LOG_LEVEL: "error", ...env } });
  const everything = await connectAsync(skylapse.mqtt, { ...signIn(["admin"]), reconnectPeriod: 0 });
  const inbox = inboxOf(everything);
  await everything.subscribeAsync("#", { qos: 1 });
  let markers = 0;
  return {
    skylapse,
    port: Number(new URL(skylapse.mqtt).port),
    client: async (who, options = {}) => {
      const client = await connectAsync(skylapse.mqtt, { ...signIn(who), reconnectPeriod: 0, ...options });
      onTestFinished(() => {
        client.end(true);
      });
      return client;
    },
    published: async () => {
      const marker = `marker/${++markers}`;
      const isMarker = ({ topic }: Received) => topic === marker;
      await everything.publishAsync(marker, "", { qos: 1 });
      while (!inbox.messages.some(isMarker)) await inbox.has(inbox.messages.length + 1);
      const seen = inbox.messages.splice(0).map(({ topic }) => topic);
      // Leaves out what the backend publishes by itself.
      return seen.filter(
        (topic) => topic !== marker && !/\/system\/|\/state\/presence$|\/publication\.refused$/.test(topic),
      );
    },
    stop: async () => {
      await everything.endAsync();
      await skylapse.end();
      removeDataPath(dataPath);
    },
  };
}

export function signIn(who: string | readonly string[]): { username: string; password: string } {
  return typeof who === "string"
    ? { username: who, password: SECRET }
    : { username: "somebody", password: signToken("somebody", who) };
}

/**
 * Sends the bytes on a new connection. Unless the CONNACK accepts this connection, also waits until the connection
 * ends.
 * @returns the code of the CONNACK, or "closed" when there was none
 */
export async function answerTo(port: number, bytes: Buffer): Promise<number | "closed"> {
  const peer = await rawClient(port);
  peer.send(bytes);
  const answered = peer.next(TYPE.connack).then((body) => body.readUInt8(1));
  const first = await Promise.race([answered, peer.ended.then(() => "closed" as const)]);
  if (first !== 0) await peer.ended;
  return first;
}

/** A connection for MQTT packets, valid or not, in pieces of any size. */
export interface RawTransport {
  peer: RawClient;
  /** Wraps bytes for the transport. */
  wrap(bytes: Buffer): Buffer;
}

export const TRANSPORTS = {
  TCP: async (ports: { mqtt?: number; mqttWs?: number }): Promise<RawTransport> => ({
    peer: await rawClient(ports.mqtt),
    wrap: (bytes) => bytes,
  }),
  WebSocket: async (ports: { mqtt?: number; mqttWs?: number }): Promise<RawTransport> => {
    const peer = await rawClient(ports.mqttWs);
    const answered = once(peer.socket, "data");
    peer.send(upgradeRequest({ path: "/", protocol: "mqtt" }));
    await answered;
    return { peer, wrap: (bytes) => frame(bytes, { opcode: 2 }) };
  },
} as const;

/** A string in a packet, with any bytes [MQTT-1.5.3]. */
export function field(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
}

export interface AnyConnect {
  /** Default `MQTT`, level 4. */
  protocol?: string;
  level?: number;
  /** Default: user name, password and a clean session. */
  flags?: number;
  clientId?: string | Buffer;
  will?: { topic: string | Buffer; payload: string | Buffer };
  /** Default: north and its secret. */
  username?: string | Buffer;
  password?: string | Buffer;
}

/** A CONNECT. Every part of it can be made invalid. */
export function anyConnect(options: AnyConnect = {}): Buffer {
  const { protocol = "MQTT", level = 4, clientId = "c", will, username = "north", password = SECRET } = options;
  const flags = options.flags ?? (will === undefined ? 0xc2 : 0xce);
  const properties = level === 5 ? Buffer.from([0]) : Buffer.alloc(0);
  const middle = will === undefined ? [] : [properties, field(will.topic), field(will.payload)];
  return packet(
    0x10,
    Buffer.concat([
      ...[field(protocol), Buffer.from([level, flags, 0, 60]), properties, field(clientId), ...middle],
      ...[field(username), field(password)],
    ]),
  );
}

/** A valid CONNECT of the camera. */
export function connectOf(id: string, options: Partial<RawConnect> = {}): Buffer {
  return connectPacket({ clientId: `${id}-${Math.random()}`, ...signIn(id), ...options });
}

export const NO_UTF8 = [
  ["an invalid first byte", Buffer.from([0xff])],
  ["NUL in two bytes", Buffer.from([0xc0, 0x80])],
  ["half a surrogate pair", Buffer.from([0xed, 0xa0, 0x80])],
  ["a truncated character", Buffer.from([0xe2, 0x82])],
] as const;

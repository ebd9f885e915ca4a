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
/** How the devices of {@link Program} sign in: cameras `north` and `south`, the service `stacker`. */
export const SECRET = "a-secret-of-at-least-thirty-two-characters";

/** The whole program, with two cameras and a processing service, and somebody who sees all that passes. */
export interface Program {
  skylapse: Skylapse;
  port: number;
  /** A connection that has been let in: a device by its id, others by their permissions. */
  client(who: string | readonly string[], options?: IClientOptions): Promise<MqttClient>;
  /** All that anybody has published since this was last asked, as topics. */
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
      // The backend speaks for itself beside.
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

/** What a connection that sends these bytes comes to: the code of the CONNACK, if there is one, and always its end. */
export async function answerTo(port: number, bytes: Buffer): Promise<number | "closed"> {
  const peer = await rawClient(port);
  peer.send(bytes);
  const answered = peer.next(TYPE.connack).then((body) => body.readUInt8(1));
  const first = await Promise.race([answered, peer.ended.then(() => "closed" as const)]);
  if (first !== 0) await peer.ended;
  return first;
}

/** A connection over which MQTT packets can be sent, right or wrong, in whatever pieces. */
export interface Door {
  peer: RawClient;
  /** Wraps bytes as the transport wants them. */
  wrap(bytes: Buffer): Buffer;
}

export const DOORS = {
  TCP: async (ports: { mqtt?: number; mqttWs?: number }): Promise<Door> => ({
    peer: await rawClient(ports.mqtt),
    wrap: (bytes) => bytes,
  }),
  WebSocket: async (ports: { mqtt?: number; mqttWs?: number }): Promise<Door> => {
    const peer = await rawClient(ports.mqttWs);
    const answered = once(peer.socket, "data");
    peer.send(upgradeRequest({ path: "/", protocol: "mqtt" }));
    await answered;
    return { peer, wrap: (bytes) => frame(bytes, { opcode: 2 }) };
  },
} as const;

/** A string of a packet, whatever bytes it is made of [MQTT-1.5.3]. */
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
  /** Default: north, with its secret. */
  username?: string | Buffer;
  password?: string | Buffer;
}

/** A CONNECT of which every part can be wrong. */
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

/** A good CONNECT of the camera. */
export function connectOf(id: string, options: Partial<RawConnect> = {}): Buffer {
  return connectPacket({ clientId: `${id}-${Math.random()}`, ...signIn(id), ...options });
}

/** Names that have broken programs: inherited ones, what nobody can read, what no encoding has. */
export const NO_UTF8 = [
  ["a byte that begins nothing", Buffer.from([0xff])],
  ["NUL written as two bytes", Buffer.from([0xc0, 0x80])],
  ["half of a pair of surrogates", Buffer.from([0xed, 0xa0, 0x80])],
  ["a letter that is cut off", Buffer.from([0xe2, 0x82])],
] as const;

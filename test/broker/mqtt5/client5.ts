import { connect, type Socket } from "node:net";
import { generate, type IConnackPacket, type IConnectPacket, type Packet, parser } from "mqtt-packet";
import { onTestFinished } from "vitest";
import { type BrokerUnderTest, SECRET } from "../broker-under-test.ts";

type Command = Packet["cmd"];
type PacketOf<Cmd extends Command> = Extract<Packet, { cmd: Cmd }>;

/** An MQTT 5 client that sends exactly what a test says, and answers nothing by itself. */
export class Client5 {
  readonly socket: Socket;
  /** Packets received and not yet returned by {@link next}. */
  readonly packets: Packet[] = [];
  /** Resolves when the server has closed the connection. */
  readonly ended: Promise<void>;
  readonly #watchers = new Set<() => void>();

  constructor(port: number | undefined) {
    this.socket = connect({ port: port ?? 0, host: "127.0.0.1", noDelay: true });
    onTestFinished(() => {
      this.socket.destroy();
    });
    const reader = parser({ protocolVersion: 5 });
    reader.on("packet", (packet) => {
      this.packets.push(packet);
      for (const watch of this.#watchers) watch();
    });
    this.socket.on("data", (bytes) => void reader.parse(bytes));
    this.socket.on("error", () => undefined);
    this.ended = new Promise((resolve) => this.socket.once("close", () => resolve()));
  }

  /** Sends the packets in one write. */
  send(...packets: Packet[]): void {
    this.sendBytes(...packets.map((packet) => generate(packet, { protocolVersion: 5 })));
  }

  sendBytes(...bytes: (Buffer | readonly number[])[]): void {
    this.socket.write(Buffer.concat(bytes.map((part) => Buffer.from(part))));
  }

  /** The next packet of the type. Returns each packet once. */
  next<Cmd extends Command>(cmd: Cmd): Promise<PacketOf<Cmd>> {
    return new Promise((resolve) => {
      const look = (): void => {
        const index = this.packets.findIndex((packet) => packet.cmd === cmd);
        const [packet] = index < 0 ? [] : this.packets.splice(index, 1);
        if (packet === undefined || !isOf(packet, cmd)) return;
        this.#watchers.delete(look);
        resolve(packet);
      };
      this.#watchers.add(look);
      look();
    });
  }

  /** Resolves when everything that was sent before has been handled. */
  async ping(): Promise<void> {
    this.send({ cmd: "pingreq" });
    await this.next("pingresp");
  }

  /** Subscribes to one filter. @returns the reason code */
  async subscribe(topic: string, options: SubscribeOptions = {}): Promise<number> {
    const { qos = 1, nl = false, rap = false, rh = 0, identifier } = options;
    const properties = identifier === undefined ? {} : { properties: { subscriptionIdentifier: identifier } };
    this.send({ cmd: "subscribe", messageId: 1000, subscriptions: [{ topic, qos, nl, rap, rh }], ...properties });
    const { granted } = await this.next("suback");
    const [code] = granted;
    return typeof code === "number" ? code : -1;
  }

  /** Publishes, and resolves to the reason code of PUBACK or PUBREC. Undefined for QoS 0. */
  async publish(topic: string, payload: string | Buffer, options: PublishOptions = {}): Promise<number | undefined> {
    const { qos = 1, retain = false, messageId = 7, properties } = options;
    const id = qos === 0 ? {} : { messageId };
    const extra = properties === undefined ? {} : { properties };
    this.send({ cmd: "publish", topic, payload, qos, retain, dup: false, ...id, ...extra });
    if (qos === 0) return undefined;
    return qos === 1 ? (await this.next("puback")).reasonCode : (await this.next("pubrec")).reasonCode;
  }
}

interface SubscribeOptions {
  qos?: 0 | 1 | 2;
  nl?: boolean;
  rap?: boolean;
  rh?: 0 | 1 | 2;
  identifier?: number;
}

type PublishProperties = NonNullable<PacketOf<"publish">["properties"]>;

interface PublishOptions {
  qos?: 0 | 1 | 2;
  retain?: boolean;
  messageId?: number;
  properties?: PublishProperties;
}

function isOf<Cmd extends Command>(packet: Packet, cmd: Cmd): packet is PacketOf<Cmd> {
  return packet.cmd === cmd;
}

export type Connect5 = Partial<Omit<IConnectPacket, "cmd">>;

export const NORTH5: Connect5 = { clientId: "camera-north", username: "north", password: Buffer.from(SECRET) };

/** A connect of the user alice with these permissions. */
export function userOf(test: BrokerUnderTest, permissions: readonly string[], clientId = "reader"): Connect5 {
  return { clientId, username: "alice", password: Buffer.from(test.token(permissions)) };
}

export function connectPacket5(options: Connect5): IConnectPacket {
  const head = { cmd: "connect", protocolId: "MQTT", protocolVersion: 5, clean: true, keepalive: 60 } as const;
  return { ...head, clientId: "", ...options };
}

/** Sends a CONNECT, and resolves to the client and its CONNACK, accepting or not. */
export async function tryConnect5(
  test: BrokerUnderTest,
  options: Connect5,
): Promise<{ client: Client5; connack: IConnackPacket }> {
  const client = new Client5(test.broker.ports.mqtt);
  client.send(connectPacket5(options));
  return { client, connack: await client.next("connack") };
}

/** Connects. @throws {Error} the CONNACK refuses */
export async function connect5(test: BrokerUnderTest, options: Connect5): Promise<Client5> {
  const { client, connack } = await tryConnect5(test, options);
  if (connack.reasonCode !== 0)
    throw new Error(`refused with ${connack.reasonCode}: ${connack.properties?.reasonString}`);
  return client;
}

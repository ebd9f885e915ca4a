import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { generate, type Packet, parser } from "mqtt-packet";
import { ABUSER_ADDRESS } from "./attack.ts";
import type { Target } from "./server.ts";

export interface RawLogin {
  clientId: string;
  username: string;
  password: string;
  clean?: boolean;
  /** Default 4, MQTT 3.1.1. */
  protocolVersion?: 4 | 5;
  /** The source address. Default: the abuser's. */
  address?: string;
}

/** An MQTT client that sends any bytes, even against the protocol, and reports the answers. */
export class RawMqtt {
  readonly socket: Socket;
  /** Received packets, by `cmd`. */
  readonly counts = new Map<string, number>();
  closed = false;
  #onPacket: (packet: Packet) => void = () => {};

  private constructor(socket: Socket) {
    this.socket = socket;
    const parse = parser({ protocolVersion: 4 });
    parse.on("packet", (packet: Packet) => {
      this.counts.set(packet.cmd, (this.counts.get(packet.cmd) ?? 0) + 1);
      this.#onPacket(packet);
    });
    socket.on("data", (bytes: Buffer) => parse.parse(bytes));
    socket.on("error", () => {});
    socket.on("close", () => {
      this.closed = true;
    });
  }

  /** @returns the client and the return code of the CONNACK, or -1 if the connection was closed */
  static async open(
    target: Target,
    { clean = true, address = ABUSER_ADDRESS, ...login }: RawLogin,
  ): Promise<{ client: RawMqtt; code: number }> {
    const socket = connect({ port: target.mqttPort, host: "127.0.0.1", localAddress: address, noDelay: true });
    const client = new RawMqtt(socket);
    const code = new Promise<number>((resolve) => {
      client.#onPacket = (packet) => resolve(packet.cmd === "connack" ? (packet.returnCode ?? 0) : -1);
      socket.on("close", () => resolve(-1));
    });
    client.send({
      cmd: "connect",
      protocolId: "MQTT",
      protocolVersion: 4,
      keepalive: 600,
      clean,
      ...login,
      password: Buffer.from(login.password),
    });
    const answered = await code;
    client.#onPacket = () => {};
    return { client, code: answered };
  }

  send(packet: Packet): boolean {
    return this.write(generate(packet));
  }

  write(bytes: Buffer): boolean {
    return !this.socket.destroyed && this.socket.write(bytes);
  }

  onPacket(listener: (packet: Packet) => void): void {
    this.#onPacket = listener;
  }

  /** Repeats the same bytes as fast as the server reads, until the connection ends. */
  async flood(next: () => Buffer): Promise<void> {
    const ending = new AbortController();
    this.socket.once("close", () => ending.abort());
    while (!this.closed) {
      if (!this.write(next())) await once(this.socket, "drain", { signal: ending.signal }).catch(() => {});
      else await new Promise((resolve) => setImmediate(resolve));
    }
  }

  end(): void {
    this.socket.destroy();
  }
}

import { connect, type Socket } from "node:net";
import { generate, type IConnectPacket, type Packet, parser } from "mqtt-packet";

export interface MqttWireOptions extends Pick<IConnectPacket, "clean" | "will" | "keepalive"> {
  port: number;
  clientId: string;
  /** A token. The client id is the user name. */
  password: string;
  /** Speaks MQTT 5, with a session that outlives its connection by an hour if it is not clean. Default: MQTT 3.1.1. */
  isFive?: boolean;
  onPacket(packet: Packet): void;
  onClose?(): void;
}

/** A connection of an MQTT client that acknowledges nothing by itself. Sends CONNECT at once. */
export class MqttWire {
  readonly socket: Socket;
  readonly #version: { protocolVersion: 4 | 5 };

  constructor({ port, clientId, password, isFive = false, onPacket, onClose, ...options }: MqttWireOptions) {
    this.#version = { protocolVersion: isFive ? 5 : 4 };
    this.socket = connect({ port, host: "127.0.0.1", noDelay: true });
    const reader = parser(this.#version);
    reader.on("packet", (packet) => {
      // What arrives after the end of a connection has not arrived.
      if (!this.socket.destroyed) onPacket(packet);
    });
    this.socket.on("data", (bytes) => void reader.parse(bytes));
    // A `close` event follows every error.
    this.socket.on("error", () => {});
    if (onClose !== undefined) this.socket.on("close", onClose);
    const login = { clientId, username: clientId, password: Buffer.from(password) };
    const expiry = isFive && options.clean === false ? { properties: { sessionExpiryInterval: 3_600 } } : {};
    this.send({ cmd: "connect", protocolId: "MQTT", ...this.#version, keepalive: 0, ...options, ...login, ...expiry });
  }

  /** Sends the packets in one write. */
  send(...packets: readonly Packet[]): void {
    if (packets.length > 0) this.socket.write(Buffer.concat(packets.map((packet) => generate(packet, this.#version))));
  }

  /** Ends the connection without DISCONNECT. */
  cut(): void {
    this.socket.destroy();
  }

  disconnect(): void {
    this.socket.end(generate({ cmd: "disconnect" }, this.#version));
  }
}

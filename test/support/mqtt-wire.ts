import { connect, type Socket } from "node:net";
import { generate, type IConnectPacket, type Packet, parser } from "mqtt-packet";

export interface MqttWireOptions extends Pick<IConnectPacket, "clean" | "will" | "keepalive"> {
  port: number;
  clientId: string;
  /** A token. The client id is the user name. */
  password: string;
  onPacket(packet: Packet): void;
  onClose?(): void;
}

/** A connection of an MQTT client that acknowledges nothing by itself. Sends CONNECT at once. */
export class MqttWire {
  readonly socket: Socket;

  constructor({ port, clientId, password, onPacket, onClose, ...options }: MqttWireOptions) {
    this.socket = connect({ port, host: "127.0.0.1", noDelay: true });
    const reader = parser({ protocolVersion: 4 });
    reader.on("packet", (packet) => {
      // What arrives after the end of a connection has not arrived.
      if (!this.socket.destroyed) onPacket(packet);
    });
    this.socket.on("data", (bytes) => void reader.parse(bytes));
    // A `close` event follows every error.
    this.socket.on("error", () => {});
    if (onClose !== undefined) this.socket.on("close", onClose);
    const login = { clientId, username: clientId, password: Buffer.from(password) };
    this.send({ cmd: "connect", protocolId: "MQTT", protocolVersion: 4, keepalive: 0, ...options, ...login });
  }

  /** Sends the packets in one write. */
  send(...packets: readonly Packet[]): void {
    if (packets.length > 0) this.socket.write(Buffer.concat(packets.map((packet) => generate(packet))));
  }

  /** Ends the connection without DISCONNECT. */
  cut(): void {
    this.socket.destroy();
  }

  disconnect(): void {
    this.socket.end(generate({ cmd: "disconnect" }));
  }
}

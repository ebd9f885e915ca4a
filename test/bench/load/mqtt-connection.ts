import { once } from "node:events";
import type { Socket } from "node:net";
import {
  CONNACK,
  connectPacket,
  DISCONNECT,
  type Login,
  PUBACK,
  PUBLISH,
  SUBACK,
  subscribePacket,
} from "./mqtt-packets.ts";
import { openRaw } from "./raw-connection.ts";

export interface MqttConnectionOptions extends Login {
  port: number;
  onMessage?: (buffer: Buffer, start: number, end: number) => void;
  /** Called once for acknowledgements that arrive together. */
  onAcknowledged?: (count: number) => void;
  onClose: (reason: string) => void;
}

/** A lean MQTT client, which needs 1 or 2 µs a message. A general client library needs 20 µs. */
export class MqttConnection {
  readonly #options: MqttConnectionOptions;
  #socket: Socket | undefined;
  #answered: ((type: number, code: number) => void) | undefined;
  #ended = false;

  constructor(options: MqttConnectionOptions) {
    this.#options = options;
  }

  async open(): Promise<void> {
    this.#socket = await openRaw({
      port: this.#options.port,
      onBytes: (bytes) => this.#read(bytes),
      onClose: (reason) => {
        this.#answered?.(0, 0);
        if (!this.#ended) this.#options.onClose(reason);
      },
    });
    await this.#ask(connectPacket(this.#options), CONNACK, "the connection");
  }

  async subscribe(filter: string, qos: number): Promise<void> {
    await this.#ask(subscribePacket(1, filter, qos, this.#options.level), SUBACK, `the subscription to ${filter}`, qos);
  }

  write(bytes: Buffer): void {
    this.#socket?.write(bytes);
  }

  end(): void {
    this.#ended = true;
    this.#socket?.end(DISCONNECT);
  }

  /** Ends the connection. Resolves when the server has closed it. */
  async ended(): Promise<void> {
    const closed = this.#socket === undefined ? undefined : once(this.#socket, "close");
    this.end();
    await closed;
  }

  async #ask(request: Buffer, reply: number, what: string, wanted = 0): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#answered = (type, code) => {
        this.#answered = undefined;
        if (type === reply && code === wanted) resolve();
        else reject(new Error(`the broker refused ${what} of ${this.#options.clientId}: packet ${type}, code ${code}`));
      };
      this.write(request);
    });
  }

  #read(bytes: Buffer): number {
    const { onMessage, onAcknowledged } = this.#options;
    const messageIds: number[] = [];
    let acknowledged = 0;
    let at = 0;
    while (at + 2 <= bytes.length) {
      let start = at + 1;
      let length = 0;
      let shift = 0;
      let byte: number | undefined;
      do {
        byte = bytes[start++];
        length |= ((byte ?? 0) & 0x7f) << shift;
        shift += 7;
      } while (byte !== undefined && byte >= 0x80);
      const end = start + length;
      if (byte === undefined || end > bytes.length) break;
      const first = bytes[at] ?? 0;
      const type = first & 0xf0;
      if (type === PUBACK) acknowledged++;
      else if (type === PUBLISH) {
        const afterTopic = start + 2 + bytes.readUInt16BE(start);
        const acknowledge = (first & 0x06) !== 0;
        if (acknowledge) messageIds.push(bytes.readUInt16BE(afterTopic));
        onMessage?.(bytes, acknowledge ? afterTopic + 2 : afterTopic, end);
      } else if (type === CONNACK) this.#answered?.(type, bytes[start + 1] ?? 0xff);
      else if (type === SUBACK) this.#answered?.(type, bytes[end - 1] ?? 0xff);
      at = end;
    }
    if (messageIds.length > 0) this.write(acknowledgements(messageIds));
    if (acknowledged > 0) onAcknowledged?.(acknowledged);
    return at;
  }
}

function acknowledgements(messageIds: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(messageIds.length * 4);
  for (const [index, id] of messageIds.entries()) {
    bytes.writeUInt16BE((PUBACK << 8) | 2, index * 4);
    bytes.writeUInt16BE(id, index * 4 + 2);
  }
  return bytes;
}

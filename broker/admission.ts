import type { Socket } from "node:net";
import type { Logger } from "pino";

/** Refusals of one reason are logged once in this time, with their number: a flood must not become a flood of lines. */
const LOG_INTERVAL_MS = 10_000;

export interface AdmissionOptions {
  maxClients: number;
  maxConnectionsPerAddress: number;
  logger: Logger;
}

/** Counts the open connections of all listeners and turns away those beyond the limits, before they have cost anything. */
export class Admission {
  readonly #options: AdmissionOptions;
  readonly #byAddress = new Map<string, number>();
  readonly #sockets = new Set<Socket>();
  #logAt = 0;
  refused = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  /** @returns false when the socket was refused and is destroyed */
  admit(socket: Socket): boolean {
    if (!this.admitProxy(socket)) return false;
    if (this.countAddress(socket, addressOf(socket))) return true;
    socket.destroy();
    return false;
  }

  /** A trusted proxy speaks for many: whose connection it is, {@link countAddress} is told when the proxy has said it. */
  admitProxy(socket: Socket): boolean {
    if (this.#sockets.size >= this.#options.maxClients) {
      socket.destroy();
      return this.#refused(addressOf(socket), "MAX_MQTT_CLIENTS");
    }
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    return true;
  }

  /** @returns false when the address has too many connections; what becomes of the socket is left to the caller */
  countAddress(socket: Socket, address: string): boolean {
    const fromHere = this.#byAddress.get(address) ?? 0;
    if (fromHere >= this.#options.maxConnectionsPerAddress)
      return this.#refused(address, "MAX_MQTT_CONNECTIONS_PER_ADDRESS");
    this.#byAddress.set(address, fromHere + 1);
    socket.once("close", () => {
      const left = (this.#byAddress.get(address) ?? 1) - 1;
      if (left > 0) this.#byAddress.set(address, left);
      else this.#byAddress.delete(address);
    });
    return true;
  }

  /** Ends every connection, whatever state it is in. */
  destroyAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #refused(address: string, limit: string): false {
    this.refused++;
    if (Date.now() >= this.#logAt) {
      this.#logAt = Date.now() + LOG_INTERVAL_MS;
      this.#options.logger.warn({ address, limit, refused: this.refused }, "a connection is refused: too many");
    }
    return false;
  }
}

/** The peer's address, an IPv4 one in its own form also when it came through an IPv6 socket. */
export function addressOf(socket: Socket): string {
  return (socket.remoteAddress ?? "unknown").replace(/^::ffff:(?=\d+\.)/, "");
}

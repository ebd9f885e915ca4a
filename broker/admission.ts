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
    const address = addressOf(socket);
    const { maxClients, maxConnectionsPerAddress } = this.#options;
    const fromHere = this.#byAddress.get(address) ?? 0;
    if (this.#sockets.size >= maxClients) return this.#refuse(socket, address, "MAX_MQTT_CLIENTS");
    if (fromHere >= maxConnectionsPerAddress) return this.#refuse(socket, address, "MAX_MQTT_CONNECTIONS_PER_ADDRESS");
    this.#sockets.add(socket);
    this.#byAddress.set(address, fromHere + 1);
    socket.once("close", () => {
      this.#sockets.delete(socket);
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

  #refuse(socket: Socket, address: string, limit: string): false {
    socket.destroy();
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

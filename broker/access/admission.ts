import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Logger } from "pino";
import { networkOf, plainAddress } from "../../platform/addresses.ts";
import { Counts } from "../../platform/counts.ts";
import { FixedWindowCounter } from "../../platform/fixed-window-counter.ts";
import type { AccessRefusal } from "../../platform/identity.ts";
import type { LinkProbe } from "./link-watch.ts";

export type Transport = "tcp" | "tls" | "websocket";

/** A connection before the client has sent anything. */
export interface Origin {
  address: string;
  transport: Transport;
  /** The common name of the client's certificate, verified against `TLS_CLIENT_CA`. */
  certificateName?: string;
  /** Only for WebSocket: on TCP and TLS connections, the kernel sends the probes. */
  probe?: LinkProbe;
}

/** Refusals are logged at most once per interval: a flood of connections must not flood the log. */
const LOG_INTERVAL_MS = 10_000;

interface AdmissionOptions {
  maxClients: number;
  maxConnectionsPerAddress: number;
  /** Connections of one address that have no CONNACK yet. */
  maxUnauthenticatedPerAddress: number;
  /** Per address. This also limits guesses at secrets, because each guess needs a connection. */
  maxConnectsPerMinute: number;
  onRefused(refusal: AccessRefusal): void;
  logger: Logger;
}

/** Counts the connections of all listeners, and refuses those beyond the limits before they cost anything. */
export class Admission {
  readonly #options: AdmissionOptions;
  readonly #byAddress = new Counts();
  readonly #unauthenticated = new Counts();
  readonly #connects = new FixedWindowCounter();
  /** For each unauthenticated connection, the function that subtracts it from `#unauthenticated`. */
  readonly #authenticated = new WeakMap<Duplex, () => void>();
  readonly #sockets = new Set<Socket>();
  #nextLogAt = 0;
  refused = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  /** @returns false when the connection was refused and the socket destroyed */
  admit(socket: Socket): boolean {
    if (!this.admitProxy(socket)) return false;
    if (this.countAddress(socket, addressOf(socket))) return true;
    socket.destroy();
    return false;
  }

  /** Admits a connection of a trusted proxy. Call {@link countAddress} when the proxy has sent the client's address. */
  admitProxy(socket: Socket): boolean {
    if (this.#sockets.size >= this.#options.maxClients) {
      socket.destroy();
      return this.#refused(addressOf(socket), "MAX_MQTT_CLIENTS");
    }
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    return true;
  }

  /** @returns false when the address has too many connections: the caller closes the socket */
  countAddress(socket: Socket, address: string): boolean {
    const network = networkOf(address);
    const { maxConnectionsPerAddress, maxConnectsPerMinute } = this.#options;
    if (this.#byAddress.of(network) >= maxConnectionsPerAddress)
      return this.#refused(address, "MAX_MQTT_CONNECTIONS_PER_ADDRESS");
    if (this.#connects.add(network) > maxConnectsPerMinute)
      return this.#refused(address, "MAX_MQTT_CONNECTS_PER_MINUTE");
    socket.once("close", countOnce(this.#byAddress, network));
    return true;
  }

  /**
   * Counts a connection as unauthenticated. @returns false when the address has too many: the caller closes the
   * connection
   */
  awaitConnack(connection: Duplex, address: string): boolean {
    const network = networkOf(address);
    if (this.#unauthenticated.of(network) >= this.#options.maxUnauthenticatedPerAddress)
      return this.#refused(address, "MAX_MQTT_UNAUTHENTICATED_PER_ADDRESS");
    const leave = countOnce(this.#unauthenticated, network);
    this.#authenticated.set(connection, leave);
    connection.once("close", leave);
    return true;
  }

  authenticated(connection: Duplex): void {
    this.#authenticated.get(connection)?.();
  }

  destroyAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #refused(address: string, limit: string): false {
    this.refused++;
    this.#options.onRefused({ action: "connect", who: "unknown", address, target: "mqtt", outcome: limit });
    if (Date.now() >= this.#nextLogAt) {
      this.#nextLogAt = Date.now() + LOG_INTERVAL_MS;
      this.#options.logger.warn({ address, limit, refused: this.refused }, "connection refused: too many");
    }
    return false;
  }
}

export function addressOf(socket: Socket): string {
  return plainAddress(socket.remoteAddress ?? "unknown");
}

/** Adds one to the key's count. @returns a function whose first call subtracts the one */
function countOnce(counts: Counts, key: string): () => void {
  counts.add(key);
  let isSubtracted = false;
  return () => {
    if (!isSubtracted) counts.subtract(key);
    isSubtracted = true;
  };
}

import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Logger } from "pino";
import { networkOf, plainAddress } from "../../platform/addresses.ts";
import { FixedWindowCounter } from "../../platform/fixed-window-counter.ts";
import type { AccessRefusal } from "../../platform/identity.ts";
import type { LinkProbe } from "./link-watch.ts";

export type Transport = "tcp" | "tls" | "websocket";

/** Where a connection comes from: known before the client sends anything. */
export interface Origin {
  address: string;
  transport: Transport;
  /** The common name of the client's certificate, which TLS has verified against `TLS_CLIENT_CA`. */
  certificateName?: string;
  /** Set only for WebSocket: over TCP and TLS, the kernel probes the client. */
  probe?: LinkProbe;
}

/**
 * At most one line with the number of refusals is logged per interval: a flood of connections must not flood the log.
 */
const LOG_INTERVAL_MS = 10_000;

interface AdmissionOptions {
  maxClients: number;
  maxConnectionsPerAddress: number;
  /** Connections of one address whose CONNECT has not been answered yet. */
  maxUnauthenticatedPerAddress: number;
  /**
   * New connections of one address per minute. This limit also bounds guesses at secrets: each guess needs a
   * connection.
   */
  maxConnectsPerMinute: number;
  onRefused(refusal: AccessRefusal): void;
  logger: Logger;
}

/** Counts the open connections of all listeners and refuses connections beyond the limits before they cost anything. */
export class Admission {
  readonly #options: AdmissionOptions;
  readonly #byAddress = new Map<string, number>();
  readonly #unauthenticated = new Map<string, number>();
  readonly #connects = new FixedWindowCounter();
  /** For each unauthenticated connection: a function that, called when its CONNACK is sent, subtracts it. */
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
    if ((this.#byAddress.get(network) ?? 0) >= maxConnectionsPerAddress)
      return this.#refused(address, "MAX_MQTT_CONNECTIONS_PER_ADDRESS");
    if (this.#connects.add(network) > maxConnectsPerMinute)
      return this.#refused(address, "MAX_MQTT_CONNECTS_PER_MINUTE");
    const leave = increment(this.#byAddress, network);
    socket.once("close", leave);
    return true;
  }

  /**
   * Counts the connection as unauthenticated until {@link authenticated} is called or it closes. Connections that are
   * still in their TLS handshake or HTTP request are not counted: other timeouts bound them.
   * @returns false when the address has too many unauthenticated connections: the caller closes the connection
   */
  awaitConnack(connection: Duplex, address: string): boolean {
    const network = networkOf(address);
    if ((this.#unauthenticated.get(network) ?? 0) >= this.#options.maxUnauthenticatedPerAddress)
      return this.#refused(address, "MAX_MQTT_UNAUTHENTICATED_PER_ADDRESS");
    const leave = increment(this.#unauthenticated, network);
    this.#authenticated.set(connection, leave);
    connection.once("close", leave);
    return true;
  }

  authenticated(connection: Duplex): void {
    this.#authenticated.get(connection)?.();
  }

  /** Closes every connection, whatever its state. */
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

/** The peer's address. If an IPv6 socket reports an IPv4 address, its IPv4 form is returned. */
export function addressOf(socket: Socket): string {
  return plainAddress(socket.remoteAddress ?? "unknown");
}

/** Adds one to the key's count. @returns a function that subtracts the one again; further calls do nothing */
function increment(counts: Map<string, number>, key: string): () => void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
  let left = false;
  return () => {
    if (left) return;
    left = true;
    const others = (counts.get(key) ?? 1) - 1;
    if (others > 0) counts.set(key, others);
    else counts.delete(key);
  };
}

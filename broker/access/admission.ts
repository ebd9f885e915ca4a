import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Logger } from "pino";
import { networkOf, plainAddress } from "../../platform/addresses.ts";
import { FixedWindowCounter } from "../../platform/fixed-window-counter.ts";
import type { AccessRefusal } from "../../platform/identity.ts";
import type { LinkProbe } from "../aedes/link-watch.ts";

export type Transport = "tcp" | "tls" | "websocket";

/** Where a connection comes from, known before the client says anything. */
export interface Origin {
  address: string;
  transport: Transport;
  /** The common name of the client's certificate, once TLS has verified it against `TLS_CLIENT_CA`. */
  certificateName?: string;
  /** Over WebSocket. Undefined where the kernel's probes reach the client. */
  probe?: LinkProbe;
}

/** Refusals of one reason are logged once in this time, with their number: a flood must not become a flood of lines. */
const LOG_INTERVAL_MS = 10_000;

export interface AdmissionOptions {
  maxClients: number;
  maxConnectionsPerAddress: number;
  /** Of those, whose CONNECT is not answered yet. */
  maxUnauthenticatedPerAddress: number;
  /** Every guess at a secret costs a connection, so this bounds those too. */
  maxConnectsPerMinute: number;
  onRefused(refusal: AccessRefusal): void;
  logger: Logger;
}

/** Counts the open connections of all listeners and turns away those beyond the limits, before they have cost anything. */
export class Admission {
  readonly #options: AdmissionOptions;
  readonly #byAddress = new Map<string, number>();
  readonly #unauthenticated = new Map<string, number>();
  readonly #connects = new FixedWindowCounter();
  /** Calls for a connection that waits for its CONNACK no more. */
  readonly #answered = new WeakMap<Duplex, () => void>();
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
    const network = networkOf(address);
    const { maxConnectionsPerAddress, maxConnectsPerMinute } = this.#options;
    if ((this.#byAddress.get(network) ?? 0) >= maxConnectionsPerAddress)
      return this.#refused(address, "MAX_MQTT_CONNECTIONS_PER_ADDRESS");
    if (this.#connects.add(network) > maxConnectsPerMinute)
      return this.#refused(address, "MAX_MQTT_CONNECTS_PER_MINUTE");
    const leave = enter(this.#byAddress, network);
    socket.once("close", leave);
    return true;
  }

  /**
   * The connection waits for its CONNACK, until {@link authenticated} is told or it ends. Those that do not get so far as
   * to begin MQTT, in a TLS handshake or an HTTP request, have time-outs of their own.
   * @returns false when too many of the address do; what becomes of the connection is left to the caller
   */
  awaitConnack(connection: Duplex, address: string): boolean {
    const network = networkOf(address);
    if ((this.#unauthenticated.get(network) ?? 0) >= this.#options.maxUnauthenticatedPerAddress)
      return this.#refused(address, "MAX_MQTT_UNAUTHENTICATED_PER_ADDRESS");
    const leave = enter(this.#unauthenticated, network);
    this.#answered.set(connection, leave);
    connection.once("close", leave);
    return true;
  }

  authenticated(connection: Duplex): void {
    this.#answered.get(connection)?.();
  }

  /** Ends every connection, whatever state it is in. */
  destroyAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #refused(address: string, limit: string): false {
    this.refused++;
    this.#options.onRefused({ action: "connect", who: "unknown", address, target: "mqtt", outcome: limit });
    if (Date.now() >= this.#logAt) {
      this.#logAt = Date.now() + LOG_INTERVAL_MS;
      this.#options.logger.warn({ address, limit, refused: this.refused }, "a connection is refused: too many");
    }
    return false;
  }
}

/** The peer's address, an IPv4 one in its own form also when it came through an IPv6 socket. */
export function addressOf(socket: Socket): string {
  return plainAddress(socket.remoteAddress ?? "unknown");
}

/** Counts one more. @returns counts it out again, once */
function enter(counts: Map<string, number>, key: string): () => void {
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

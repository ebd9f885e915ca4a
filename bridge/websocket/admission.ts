import type { Duplex } from "node:stream";
import { networkOf } from "../../platform/addresses.ts";
import { FixedWindowCounter } from "../../platform/fixed-window-counter.ts";
import { count } from "./counts.ts";

interface AdmissionLimits {
  maxConnections: number;
  maxConnectionsPerAddress: number;
  maxUnauthenticated: number;
  maxUnauthenticatedPerAddress: number;
  maxConnectsPerMinute: number;
  maxHttpConnectionsPerAddress: number;
}

export interface UpgradeRefusal {
  status: 403 | 429 | 503;
  message: string;
}

/** RFC 6455 section 10.2. A page cannot read this response: the dashboard asks `GET /allowed-origin` for the reason. */
export const FOREIGN_ORIGIN: UpgradeRefusal = {
  status: 403,
  message: "pages of this origin may not connect: see ALLOWED_ORIGINS",
};

export const STOPPING: UpgradeRefusal = { status: 503, message: "the server is stopping" };

/**
 * The limits on connections, in all and per network: an IPv4 address, or the /64 network of an IPv6 address.
 * Connections without a verified token have separate limits, because anybody can open them. HTTP connections that are
 * not yet WebSockets have a separate limit, because each uses memory before its first byte.
 */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #byNetwork = new Map<string, number>();
  readonly #unauthenticatedByNetwork = new Map<string, number>();
  readonly #connects = new FixedWindowCounter();
  readonly #httpByNetwork = new Map<string, number>();
  /** Per socket, the function that stops counting it as an HTTP connection. */
  readonly #leaveHttp = new WeakMap<Duplex, () => void>();
  #connections = 0;
  #unauthenticated = 0;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
  }

  /** Why another WebSocket is refused; undefined if it is admitted. Counts the attempt. */
  refusal(address: string): UpgradeRefusal | undefined {
    const limits = this.#limits;
    const network = networkOf(address);
    if (this.#connections >= limits.maxConnections)
      return { status: 503, message: "the server has as many connections as it accepts" };
    if (this.#unauthenticated >= limits.maxUnauthenticated)
      return { status: 503, message: "too many connections are waiting for authentication" };
    if ((this.#byNetwork.get(network) ?? 0) >= limits.maxConnectionsPerAddress)
      return { status: 429, message: "too many connections from this address" };
    if ((this.#unauthenticatedByNetwork.get(network) ?? 0) >= limits.maxUnauthenticatedPerAddress)
      return { status: 429, message: "too many connections from this address are waiting for authentication" };
    if (this.#connects.add(network) > limits.maxConnectsPerMinute)
      return { status: 429, message: "too many connections from this address in one minute" };
    return undefined;
  }

  /** Counts an HTTP connection until it closes or becomes a WebSocket. @returns false if its address has too many */
  admitHttp(socket: Duplex, address: string): boolean {
    const network = networkOf(address);
    if ((this.#httpByNetwork.get(network) ?? 0) >= this.#limits.maxHttpConnectionsPerAddress) return false;
    count(this.#httpByNetwork, network, 1);
    const leave = () => {
      socket.off("close", leave);
      this.#leaveHttp.delete(socket);
      count(this.#httpByNetwork, network, -1);
    };
    this.#leaveHttp.set(socket, leave);
    socket.on("close", leave);
    return true;
  }

  /** Counts the connection as a WebSocket. Behind a proxy, the address is not that of the socket. */
  enter(socket: Duplex, address: string): void {
    this.#leaveHttp.get(socket)?.();
    const network = networkOf(address);
    this.#connections++;
    this.#unauthenticated++;
    count(this.#byNetwork, network, 1);
    count(this.#unauthenticatedByNetwork, network, 1);
  }

  authenticated(address: string): void {
    this.#unauthenticated--;
    count(this.#unauthenticatedByNetwork, networkOf(address), -1);
  }

  leave(address: string, wasAuthenticated: boolean): void {
    if (!wasAuthenticated) this.authenticated(address);
    this.#connections--;
    count(this.#byNetwork, networkOf(address), -1);
  }
}

const STATUS_TEXTS = {
  403: { reason: "Forbidden", code: "permission_denied" },
  429: { reason: "Too Many Requests", code: "rate_limited" },
  503: { reason: "Service Unavailable", code: "unavailable" },
};

export function refuseUpgrade(socket: Duplex, { status, message }: UpgradeRefusal): void {
  const { reason, code } = STATUS_TEXTS[status];
  const body = JSON.stringify({ error: { code, message } });
  socket.on("error", () => socket.destroy());
  socket.once("finish", () => socket.destroy());
  const headers = [
    `HTTP/1.1 ${status} ${reason}`,
    "Connection: close",
    "Content-Type: application/json; charset=utf-8",
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...(status === 403 ? [] : ["Retry-After: 5"]),
  ];
  socket.end(`${headers.join("\r\n")}\r\n\r\n${body}`);
}

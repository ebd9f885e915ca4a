import type { Duplex } from "node:stream";
import { networkOf } from "../../platform/addresses.ts";
import { FixedWindowCounter } from "../../platform/fixed-window-counter.ts";
import type { Refusal } from "./authentication.ts";

export interface AdmissionLimits {
  maxConnections: number;
  maxConnectionsPerAddress: number;
  maxUnauthenticated: number;
  maxUnauthenticatedPerAddress: number;
  maxConnectsPerMinute: number;
  maxHttpConnectionsPerAddress: number;
}

/**
 * How many may be connected. Before a connection has shown a token it costs its sender nothing, so those are counted
 * for themselves and, like all, by the network that their address is of. So is what is no dashboard, or not yet: a
 * connection to the HTTP port costs memory before it has said anything at all.
 */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #byNetwork = new Map<string, number>();
  readonly #unauthenticatedByNetwork = new Map<string, number>();
  readonly #connects = new FixedWindowCounter();
  readonly #httpByNetwork = new Map<string, number>();
  /** Counts a connection out that is counted as one of HTTP. */
  readonly #leaveHttp = new WeakMap<Duplex, () => void>();
  #connections = 0;
  #unauthenticated = 0;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
  }

  /** Why one more connection is refused, or undefined. */
  refusal(address: string): Refusal | undefined {
    const limits = this.#limits;
    const network = networkOf(address);
    if (this.#connections >= limits.maxConnections) return { status: 503, message: "the server has no room now" };
    if (this.#unauthenticated >= limits.maxUnauthenticated)
      return { status: 503, message: "too many connections wait for their authentication" };
    if ((this.#byNetwork.get(network) ?? 0) >= limits.maxConnectionsPerAddress)
      return { status: 429, message: "too many connections from this address" };
    if ((this.#unauthenticatedByNetwork.get(network) ?? 0) >= limits.maxUnauthenticatedPerAddress)
      return { status: 429, message: "too many connections from this address wait for their authentication" };
    if (this.#connects.add(network) > limits.maxConnectsPerMinute)
      return { status: 429, message: "too many connections from this address in a minute" };
    return undefined;
  }

  /**
   * Counts a connection to the HTTP port, until it ends or {@link enter} counts it as a dashboard's.
   * @returns false when its address has too many; what becomes of it is left to the caller
   */
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

  /** The connection is a dashboard's now, whose address may be another than that of the socket. */
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

/** A map that forgets what it counts down to nothing. */
export function count<Key>(counts: Map<Key, number>, key: Key, by: 1 | -1): void {
  const sum = (counts.get(key) ?? 0) + by;
  if (sum === 0) counts.delete(key);
  else counts.set(key, sum);
}

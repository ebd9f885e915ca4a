import type { Refusal } from "./handshake.ts";

export interface AdmissionLimits {
  maxConnections: number;
  maxConnectionsPerAddress: number;
  maxUnauthenticated: number;
  maxUnauthenticatedPerAddress: number;
}

/**
 * How many may be connected. Before a connection has shown a token it costs its sender nothing, so those are counted
 * for themselves and, like all, by address.
 */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #byAddress = new Map<string, number>();
  readonly #unauthenticatedByAddress = new Map<string, number>();
  #connections = 0;
  #unauthenticated = 0;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
  }

  /** Why one more connection is refused, or undefined. */
  refusal(address: string): Refusal | undefined {
    const limits = this.#limits;
    if (this.#connections >= limits.maxConnections) return { status: 503, message: "the server has no room now" };
    if (this.#unauthenticated >= limits.maxUnauthenticated)
      return { status: 503, message: "too many connections wait for their authentication" };
    if ((this.#byAddress.get(address) ?? 0) >= limits.maxConnectionsPerAddress)
      return { status: 429, message: "too many connections from this address" };
    if ((this.#unauthenticatedByAddress.get(address) ?? 0) >= limits.maxUnauthenticatedPerAddress)
      return { status: 429, message: "too many connections from this address wait for their authentication" };
    return undefined;
  }

  enter(address: string): void {
    this.#connections++;
    this.#unauthenticated++;
    count(this.#byAddress, address, 1);
    count(this.#unauthenticatedByAddress, address, 1);
  }

  authenticated(address: string): void {
    this.#unauthenticated--;
    count(this.#unauthenticatedByAddress, address, -1);
  }

  leave(address: string, wasAuthenticated: boolean): void {
    if (!wasAuthenticated) this.authenticated(address);
    this.#connections--;
    count(this.#byAddress, address, -1);
  }
}

/** A map that forgets what it counts down to nothing. */
export function count<Key>(counts: Map<Key, number>, key: Key, by: 1 | -1): void {
  const sum = (counts.get(key) ?? 0) + by;
  if (sum === 0) counts.delete(key);
  else counts.set(key, sum);
}

/** How long the publication of a will is waited for before it is tried again; when it is known to have failed, at once. */
const UNDER_WAY_MS = 10_000;

/**
 * Whose will a packet is. A will is published when its client is gone, perhaps by the next run of the broker, and yet
 * it must say who sent it; its topic was checked at CONNECT, and is checked again only where its client was barred.
 */
export class Wills {
  readonly #owners = new WeakMap<object, { clientId: string; identity: string }>();
  /** Client ids whose will could not be published and stays in the store. */
  readonly #kept = new Set<string>();
  /** Connections with a stored will, by client id: two while one takes over from another. */
  readonly #connections = new Map<string, number>();

  /** When wills of earlier runs and of other nodes were given to be published, by client id. */
  readonly #handedOut = new Map<string, number>();

  sign(will: object, owner: { clientId: string; identity: string }): void {
    this.#owners.set(will, owner);
  }

  /** The identity of the packet's client, or undefined when the packet is not a will. */
  identityOf(packet: object): string | undefined {
    return this.#owners.get(packet)?.identity;
  }

  /** A connection's will is in the store, in the place of its predecessor's. */
  stored(clientId: string): void {
    this.#connections.set(clientId, (this.#connections.get(clientId) ?? 0) + 1);
  }

  /** A connection with a stored will has ended. @returns whether the will in the store is its successor's */
  released(clientId: string): boolean {
    const others = (this.#connections.get(clientId) ?? 1) - 1;
    if (others > 0) this.#connections.set(clientId, others);
    else this.#connections.delete(clientId);
    return others > 0;
  }

  /** The will is about to be published; the next look at the store may come before it is removed from there. */
  handedOut(clientId: string): void {
    this.#handedOut.set(clientId, performance.now());
  }

  isUnderWay(clientId: string): boolean {
    return this.#handedOut.has(clientId);
  }

  /** Wills that were handed out so long ago may be handed out again, if they are still there. */
  forgetLost(): void {
    for (const [clientId, at] of this.#handedOut)
      if (performance.now() - at >= UNDER_WAY_MS) this.#handedOut.delete(clientId);
  }

  /** Aedes deletes a will from the store when it has published it, or could not: this one it shall leave there. */
  keep(will: object): void {
    const owner = this.#owners.get(will);
    if (owner !== undefined) this.#kept.add(owner.clientId);
  }

  /** True once after {@link keep}. */
  takeKept(clientId: string): boolean {
    const isKept = this.#kept.delete(clientId);
    if (isKept) this.#handedOut.delete(clientId);
    return isKept;
  }
}

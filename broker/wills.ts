/**
 * Whose will a packet is. A will is published when its client is gone, perhaps by the next run of the broker, and yet
 * it must say who sent it; its topic was checked at CONNECT and is not checked again.
 */
export class Wills {
  readonly #owners = new WeakMap<object, { clientId: string; identity: string }>();
  /** Client ids whose will could not be published and stays in the store. */
  readonly #kept = new Set<string>();
  /** Connections with a stored will, by client id: two while one takes over from another. */
  readonly #connections = new Map<string, number>();

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

  /** Aedes deletes a will from the store when it has published it, or could not: this one it shall leave there. */
  keep(will: object): void {
    const owner = this.#owners.get(will);
    if (owner !== undefined) this.#kept.add(owner.clientId);
  }

  /** True once after {@link keep}. */
  takeKept(clientId: string): boolean {
    return this.#kept.delete(clientId);
  }
}

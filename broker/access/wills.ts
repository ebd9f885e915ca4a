import type { Bearer } from "../../platform/identity.ts";

/** How long the publication of a will is waited for before it is tried again; when it is known to have failed, at once. */
const UNDER_WAY_MS = 10_000;

export interface WillOwner {
  /** The name of the client's session. */
  key: string;
  bearer: Bearer;
}

/**
 * Whose will a packet is. A will is published when its client is gone, perhaps by the next run of the broker, and yet
 * it must say who sent it; its topic was checked at CONNECT, and is checked again only where its client was barred.
 */
export class Wills {
  readonly #isVoid: (owner: WillOwner) => boolean;
  readonly #owners = new WeakMap<object, WillOwner>();
  /** Sessions whose will could not be published and stays in the store. */
  readonly #kept = new Set<string>();
  /** Connections with a stored will, by session: two while one takes over from another. */
  readonly #connections = new Map<string, number>();

  /** When wills of earlier runs and of other nodes were given to be published, by session. */
  readonly #handedOut = new Map<string, number>();

  /** @param isVoid whether a will that an earlier run or another node has left is to be removed and not published */
  constructor(isVoid: (owner: WillOwner) => boolean) {
    this.#isVoid = isVoid;
  }

  isVoid(owner: WillOwner): boolean {
    return this.#isVoid(owner);
  }

  sign(will: object, owner: WillOwner): void {
    this.#owners.set(will, owner);
  }

  /** The identity of the packet's client, or undefined when the packet is not a will. */
  identityOf(packet: object): string | undefined {
    return this.#owners.get(packet)?.bearer.identity;
  }

  /** What the store is to keep of whose a will is. */
  bearerOf(will: object): Bearer | undefined {
    return this.#owners.get(will)?.bearer;
  }

  /** A connection's will is in the store, in the place of its predecessor's. */
  stored(key: string): void {
    this.#connections.set(key, (this.#connections.get(key) ?? 0) + 1);
  }

  /** A connection with a stored will has ended. @returns whether the will in the store is its successor's */
  released(key: string): boolean {
    const others = (this.#connections.get(key) ?? 1) - 1;
    if (others > 0) this.#connections.set(key, others);
    else this.#connections.delete(key);
    return others > 0;
  }

  /** The will is about to be published; the next look at the store may come before it is removed from there. */
  handedOut(key: string): void {
    this.#handedOut.set(key, performance.now());
  }

  isUnderWay(key: string): boolean {
    return this.#handedOut.has(key);
  }

  /** Wills that were handed out so long ago may be handed out again, if they are still there. */
  forgetLost(): void {
    for (const [key, at] of this.#handedOut) if (performance.now() - at >= UNDER_WAY_MS) this.#handedOut.delete(key);
  }

  /** Aedes deletes a will from the store when it has published it, or could not: this one it shall leave there. */
  keep(will: object): void {
    const owner = this.#owners.get(will);
    if (owner !== undefined) this.#kept.add(owner.key);
  }

  /** True once after {@link keep}. */
  takeKept(key: string): boolean {
    const isKept = this.#kept.delete(key);
    if (isKept) this.#handedOut.delete(key);
    return isKept;
  }
}

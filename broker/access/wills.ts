import type { Bearer } from "../../platform/identity.ts";

/**
 * A will whose publication has not finished after this time may be published again. After a known failure, it may be
 * published again immediately.
 */
const PUBLISH_TIMEOUT_MS = 10_000;

interface WillOwner {
  /** The key of the client's session. */
  key: string;
  bearer: Bearer;
}

/**
 * The owners and states of wills. A will is published after its client has disconnected, perhaps by the next run of the
 * broker, and must still name its sender. Its topic was checked at CONNECT, and is checked again only for a barred
 * client.
 */
export class Wills {
  readonly #isVoid: (owner: WillOwner) => boolean;
  readonly #owners = new WeakMap<object, WillOwner>();
  /** Sessions whose will could not be published and must stay in the store. */
  readonly #kept = new Set<string>();
  /** The number of connections with a stored will, by session: two while a newer connection replaces an older one. */
  readonly #connections = new Map<string, number>();
  /** By session: when the publishing of a will of an earlier run or another node began. */
  readonly #publishing = new Map<string, number>();

  /** @param isVoid whether a will of an earlier run or another node must be removed without being published */
  constructor(isVoid: (owner: WillOwner) => boolean) {
    this.#isVoid = isVoid;
  }

  isVoid(owner: WillOwner): boolean {
    return this.#isVoid(owner);
  }

  assign(will: object, owner: WillOwner): void {
    this.#owners.set(will, owner);
  }

  /** The identity of the packet's client, or undefined when the packet is not a will. */
  identityOf(packet: object): string | undefined {
    return this.#owners.get(packet)?.bearer.identity;
  }

  /** The owner of the will, as the store keeps it. */
  bearerOf(will: object): Bearer | undefined {
    return this.#owners.get(will)?.bearer;
  }

  /** A connection's will has been stored. It replaces the will of the session's earlier connection. */
  stored(key: string): void {
    this.#connections.set(key, (this.#connections.get(key) ?? 0) + 1);
  }

  /**
   * A connection with a stored will has closed.
   * @returns whether the will in the store belongs to a newer connection
   */
  released(key: string): boolean {
    const others = (this.#connections.get(key) ?? 1) - 1;
    if (others > 0) this.#connections.set(key, others);
    else this.#connections.delete(key);
    return others > 0;
  }

  /** The will is about to be published. It is removed from the store later: the next scan may still find it there. */
  beginPublishing(key: string): void {
    this.#publishing.set(key, performance.now());
  }

  isPublishing(key: string): boolean {
    return this.#publishing.has(key);
  }

  /** Lets a will be published again if its publication has not finished in time. */
  expirePublishing(): void {
    for (const [key, at] of this.#publishing)
      if (performance.now() - at >= PUBLISH_TIMEOUT_MS) this.#publishing.delete(key);
  }

  /** Keeps the will in the store: Aedes deletes a will after publishing it, even when the publishing failed. */
  keep(will: object): void {
    const owner = this.#owners.get(will);
    if (owner !== undefined) this.#kept.add(owner.key);
  }

  /** Whether {@link keep} was called for the session's will since the last call of this method. */
  consumeKept(key: string): boolean {
    const isKept = this.#kept.delete(key);
    if (isKept) this.#publishing.delete(key);
    return isKept;
  }
}

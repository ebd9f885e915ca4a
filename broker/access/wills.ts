import { Counts } from "../../platform/counts.ts";
import type { Bearer } from "../../platform/identity.ts";

/** A will is published again when the outcome of its publication is unknown after this time. */
const PUBLISH_TIMEOUT_MS = 10_000;

export interface WillOwner {
  /** The key of the client's session. */
  key: string;
  bearer: Bearer;
}

/**
 * The owners and states of wills. A will is published after its client has disconnected, perhaps by the next run of the
 * broker, and must still name its sender. The will's topic was checked at CONNECT.
 */
export class Wills {
  /** Whether a will of an earlier run or another node must be removed without being published. */
  readonly isVoid: (owner: WillOwner) => boolean;
  readonly #owners = new WeakMap<object, WillOwner>();
  /** Sessions whose will could not be published and must stay in the store. */
  readonly #kept = new Set<string>();
  /** Connections with a stored will, by session: two while a newer connection replaces an older one. */
  readonly #connections = new Counts();
  /** When the publishing of a will of an earlier run or another node began, by session. */
  readonly #publishing = new Map<string, number>();

  constructor(isVoid: (owner: WillOwner) => boolean) {
    this.isVoid = isVoid;
  }

  assign(will: object, owner: WillOwner): void {
    this.#owners.set(will, owner);
  }

  /** Undefined when the packet is not a will. */
  ownerOf(packet: object): WillOwner | undefined {
    return this.#owners.get(packet);
  }

  /** A connection's will has been stored, and has replaced the will of the session's earlier connection. */
  stored(key: string): void {
    this.#connections.add(key);
  }

  /** A connection with a stored will has closed. @returns whether the stored will belongs to a newer connection */
  released(key: string): boolean {
    return this.#connections.subtract(key) > 0;
  }

  /** The will is about to be published. The next scan may still find the will in the store. */
  beginPublishing(key: string): void {
    this.#publishing.set(key, performance.now());
  }

  isPublishing(key: string): boolean {
    return this.#publishing.has(key);
  }

  expirePublishing(): void {
    for (const [key, at] of this.#publishing)
      if (performance.now() - at >= PUBLISH_TIMEOUT_MS) this.#publishing.delete(key);
  }

  /** Keeps the will in the store: Aedes deletes a will after publishing it, even after a failure. */
  keep(will: object): void {
    const owner = this.#owners.get(will);
    if (owner !== undefined) this.#kept.add(owner.key);
  }

  /** Whether {@link keep} was called for the session since the last call of this method. */
  consumeKept(key: string): boolean {
    const isKept = this.#kept.delete(key);
    if (isKept) this.#publishing.delete(key);
    return isKept;
  }
}

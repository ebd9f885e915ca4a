import type { Leases } from "../cluster.ts";
import type { Link } from "./link.ts";
import { ACQUIRE_LEASE, RELEASE_LEASE, RENEW_LEASE } from "./scripts.ts";

interface Held {
  key: string;
  fence: number;
  lost: AbortController;
  /** When the lease expires, by the monotonic clock. Until then, no other node can get the lease. */
  until: number;
  timer: NodeJS.Timeout | undefined;
}

/** The key of a lease. Its value is the fence of the lease's holder. */
export const leaseKey = (link: Pick<Link, "key">, name: string) => link.key(`lease:${name}`);

/**
 * Leases as keys that expire. The holder measures the time from before it sends its command, so it gives up the lease
 * before Redis gives it to another node. A suspended process notices the expiry as soon as it runs again.
 */
export class RedisLeases implements Leases {
  readonly #link: Link;
  readonly #leaseMs: number;
  readonly #held = new Set<Held>();
  #stopped = false;

  constructor(link: Link, leaseMs: number) {
    this.#link = link;
    this.#leaseMs = leaseMs;
  }

  async acquire(name: string): ReturnType<Leases["acquire"]> {
    const key = leaseKey(this.#link, name);
    const sentAt = performance.now();
    const fence = Number(await this.#link.run(ACQUIRE_LEASE, [key, this.#link.key("fences")], [name, this.#leaseMs]));
    if (fence === 0) return undefined;
    const held: Held = { key, fence, lost: new AbortController(), until: sentAt + this.#leaseMs, timer: undefined };
    this.#held.add(held);
    if (this.#stopped) await this.#release(held);
    else this.#schedule(held);
    return {
      fence: { lease: name, number: fence },
      lost: held.lost.signal,
      lose: () => this.#lose(held),
      release: () => this.#release(held),
    };
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    const held = [...this.#held];
    for (const lease of held) this.#lose(lease);
    await Promise.all(held.map((lease) => this.#deleteKey(lease)));
  }

  #schedule(held: Held): void {
    // The timer fires before or when the lease expires, even while a renewal waits for its reply.
    const waitMs = Math.min(this.#leaseMs / 3, held.until - performance.now());
    held.timer = setTimeout(() => this.#renew(held), Math.max(0, waitMs)).unref();
  }

  #renew(held: Held): void {
    if (performance.now() >= held.until) {
      this.#lose(held);
      return;
    }
    this.#schedule(held);
    const sentAt = performance.now();
    this.#link.run(RENEW_LEASE, [held.key], [held.fence, this.#leaseMs]).then(
      (renewed) => {
        if (renewed === 1) held.until = sentAt + this.#leaseMs;
        else this.#lose(held);
      },
      () => {
        // The outcome is unknown. The renewal is repeated until the lease expires.
      },
    );
  }

  #lose(held: Held): void {
    clearTimeout(held.timer);
    if (this.#held.delete(held)) held.lost.abort();
  }

  async #release(held: Held): Promise<void> {
    clearTimeout(held.timer);
    if (this.#held.delete(held)) await this.#deleteKey(held);
  }

  /** Never rejects: a key that cannot be deleted expires by itself. */
  async #deleteKey({ key, fence }: Held): Promise<void> {
    await this.#link.run(RELEASE_LEASE, [key], [fence]).catch(() => {});
  }
}

import { randomBytes } from "node:crypto";
import { Script } from "../../../platform/redis/script.ts";
import type { Leases } from "../cluster.ts";
import type { Link } from "./link.ts";

const renewScript = new Script(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
`);

const releaseScript = new Script(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
`);

interface Held {
  key: string;
  token: string;
  lost: AbortController;
  /** Of the monotonic clock: nobody else has the lease before. */
  until: number;
  timer: NodeJS.Timeout | undefined;
}

/**
 * Leases as keys that expire. The holder's own clock starts before Redis' does, so it gives the lease up before anybody
 * else can have it; a program that was stopped on the way finds that out as soon as it runs again.
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

  async acquire(name: string): Promise<{ lost: AbortSignal; release(): Promise<void> } | undefined> {
    const key = this.#link.key(`lease:${name}`);
    const token = randomBytes(12).toString("base64url");
    const asked = performance.now();
    const answer = await this.#link.do((redis) => redis.set(key, token, "PX", this.#leaseMs, "NX"));
    if (answer !== "OK") return undefined;
    const held: Held = { key, token, lost: new AbortController(), until: asked + this.#leaseMs, timer: undefined };
    this.#held.add(held);
    if (this.#stopped) await this.#release(held);
    else this.#schedule(held);
    return { lost: held.lost.signal, release: () => this.#release(held) };
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    const held = [...this.#held];
    for (const lease of held) this.#lose(lease);
    await Promise.all(held.map((lease) => this.#giveBack(lease)));
  }

  #schedule(held: Held): void {
    // At the latest when it ends, whatever the renewal is waiting for.
    const waitMs = Math.min(this.#leaseMs / 3, held.until - performance.now());
    held.timer = setTimeout(() => this.#look(held), Math.max(0, waitMs)).unref();
  }

  #look(held: Held): void {
    if (performance.now() >= held.until) {
      this.#lose(held);
      return;
    }
    this.#schedule(held);
    const asked = performance.now();
    this.#link.run(renewScript, [held.key], [held.token, this.#leaseMs]).then(
      (renewed) => {
        if (renewed === 1) held.until = asked + this.#leaseMs;
        else this.#lose(held);
      },
      () => {
        // Not known: tried again until it ends.
      },
    );
  }

  #lose(held: Held): void {
    clearTimeout(held.timer);
    if (this.#held.delete(held)) held.lost.abort();
  }

  async #release(held: Held): Promise<void> {
    clearTimeout(held.timer);
    if (this.#held.delete(held)) await this.#giveBack(held);
  }

  /** One that cannot be given back ends by itself. */
  async #giveBack({ key, token }: Held): Promise<void> {
    await this.#link.run(releaseScript, [key], [token]).catch(() => {});
  }
}

import type { Rates } from "../cluster.ts";
import type { Link } from "./link.ts";
import { COUNT_RATE, FORGET_RATE } from "./scripts.ts";

const MINUTE_MS = 60_000;

/** A key for each window, which expires with the window. */
export class RedisRates implements Rates {
  readonly #link: Link;

  constructor(link: Link) {
    this.#link = link;
  }

  async exceededForMs(name: string, key: string, limit: number, windowMs = MINUTE_MS): Promise<number> {
    if (!Number.isFinite(limit)) return 0;
    return Number(await this.#link.run(COUNT_RATE, [this.#keyOf(name, key)], [windowMs, limit]));
  }

  async forget(name: string, key: string, events: "one" | "all"): Promise<void> {
    await this.#link.run(FORGET_RATE, [this.#keyOf(name, key)], [events]);
  }

  #keyOf(name: string, key: string): string {
    return this.#link.key(`rate:${name}:${key}`);
  }
}

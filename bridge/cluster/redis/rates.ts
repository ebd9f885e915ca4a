import { z } from "zod";
import type { Rates, RateWindow } from "../cluster.ts";
import type { Link } from "./link.ts";
import { COUNT_RATE, FORGET_RATE } from "./scripts.ts";

const MINUTE_MS = 60_000;

/** A key for each window, which expires with the window. */
export class RedisRates implements Rates {
  readonly #link: Link;

  constructor(link: Link) {
    this.#link = link;
  }

  async exceededForMs(windows: readonly RateWindow[], windowMs = MINUTE_MS): Promise<number[]> {
    if (windows.every(({ limit }) => limit === Number.POSITIVE_INFINITY)) return windows.map(() => 0);
    const keys = windows.map(({ name, key }) => this.#keyOf(name, key));
    const limits = windows.map(({ limit }) => Math.min(limit, Number.MAX_SAFE_INTEGER));
    return z.array(z.number()).parse(await this.#link.run(COUNT_RATE, keys, [windowMs, ...limits]));
  }

  async forget(name: string, key: string, events: "one" | "all"): Promise<void> {
    await this.#link.run(FORGET_RATE, [this.#keyOf(name, key)], [events]);
  }

  #keyOf(name: string, key: string): string {
    return this.#link.key(`rate:${name}:${key}`);
  }
}

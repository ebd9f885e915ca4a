import { z } from "zod";
import type { CounterSums, Counters } from "../cluster.ts";
import type { Link } from "./link.ts";
import { ADD_COUNTS } from "./scripts.ts";

/** How long Redis keeps the number of a node's last batch. A batch that is retried later may be added twice. */
const LAST_BATCH_TTL_MS = 7 * 86_400_000;

const replySchema = z.array(z.string());

/** The script that adds a batch also stores its number, so repeating the batch adds nothing. */
export class RedisCounters implements Counters {
  readonly #link: Link;
  readonly #nodeId: string;

  constructor(link: Link, nodeId: string) {
    this.#link = link;
    this.#nodeId = nodeId;
  }

  async add(batch: number, by: Readonly<Record<string, number>>): Promise<CounterSums> {
    const keys = [this.#link.key("sums"), this.#link.key(`last-batch:${this.#nodeId}`)];
    const args = [batch, LAST_BATCH_TTL_MS, ...Object.entries(by).flat()];
    const fields = replySchema.parse(await this.#link.run(ADD_COUNTS, keys, args));
    const sums = new Map<string, number>();
    let since = 0;
    for (let index = 0; index < fields.length; index += 2) {
      const name = fields[index] ?? "";
      const value = Number(fields[index + 1]);
      if (name === "since") since = value;
      else sums.set(name.slice("sum:".length), value);
    }
    return { since, sums };
  }
}

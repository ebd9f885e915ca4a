import { z } from "zod";
import { NOW, Script } from "../../../platform/redis/script.ts";
import type { CounterSums, Counters } from "../cluster.ts";
import type { Link } from "./link.ts";

/** How long Redis keeps the number of a node's last batch. A batch that is retried later may be added twice. */
const LAST_BATCH_TTL_MS = 7 * 86_400_000;

const addScript = new Script(`
local sums, last, batch, ttl = KEYS[1], KEYS[2], tonumber(ARGV[1]), ARGV[2]
${NOW}
redis.call('HSETNX', sums, 'since', now)
if batch > tonumber(redis.call('GET', last) or 0) then
  for index = 3, #ARGV, 2 do redis.call('HINCRBY', sums, 'sum:' .. ARGV[index], ARGV[index + 1]) end
  redis.call('SET', last, batch, 'PX', ttl)
end
return redis.call('HGETALL', sums)
`);

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
    const fields = replySchema.parse(await this.#link.run(addScript, keys, args));
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

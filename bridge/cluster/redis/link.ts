import type { Redis } from "ioredis";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import type { RedisConnections } from "../../../platform/redis/connections.ts";
import type { Script } from "../../../platform/redis/script.ts";

/** The keys of the cluster, and the connection for its commands. */
export class Link {
  readonly redis: RedisConnections;
  readonly #prefix: string;
  #isStopped = false;

  constructor(redis: RedisConnections) {
    this.redis = redis;
    this.#prefix = `${redis.prefix}cluster:`;
  }

  key(name: string): string {
    return this.#prefix + name;
  }

  /** Why commands of the cluster fail; undefined when they should not. */
  get unavailableReason(): string | undefined {
    return this.#isStopped ? "the program is stopping" : this.redis.unavailableReason;
  }

  /** @throws {StoreUnavailableError} */
  async run(script: Script, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    this.#assertOpen();
    return await this.redis.commands.run(script, keys, args);
  }

  /** @throws {StoreUnavailableError} */
  async do<Reply>(command: (redis: Redis) => Promise<Reply>): Promise<Reply> {
    this.#assertOpen();
    return await this.redis.commands.do(command);
  }

  /**
   * Reads the fields of a hash whose names begin with `prefix`, about `count` in each step, so that Redis is never blocked
   * for long.
   */
  async readHash(key: string, count: number, prefix = ""): Promise<Map<string, string>> {
    const pattern = `${prefix.replace(/[*?[\]\\]/g, "\\$&")}*`;
    // HSCAN may return a field twice when the hash changes meanwhile: the map holds it once.
    const found = new Map<string, string>();
    let cursor = "0";
    do {
      const from = cursor;
      const [next, fields] = await this.do((redis) => redis.hscan(key, from, "MATCH", pattern, "COUNT", count));
      for (let index = 0; index < fields.length; index += 2) found.set(fields[index] ?? "", fields[index + 1] ?? "");
      cursor = next;
    } while (cursor !== "0");
    return found;
  }

  stop(): void {
    this.#isStopped = true;
  }

  #assertOpen(): void {
    if (this.#isStopped) throw new StoreUnavailableError("the program is stopping");
  }
}

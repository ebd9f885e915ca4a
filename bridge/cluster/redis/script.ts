import { createHash } from "node:crypto";
import type { Cluster, Redis } from "ioredis";

/** A Lua script. Redis runs it whole or not at all, and nothing else meanwhile. */
export class Script {
  readonly #text: string;
  readonly #sha: string;

  constructor(text: string) {
    this.#text = text;
    this.#sha = createHash("sha1").update(text).digest("hex");
  }

  /** Runs it by its name, and with its text where Redis does not know it (any more). */
  async run(redis: Redis | Cluster, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    try {
      return await redis.evalsha(this.#sha, keys.length, ...keys, ...args);
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error;
      return await redis.eval(this.#text, keys.length, ...keys, ...args);
    }
  }
}

/** For scripts in which time matters: the clock of Redis, which all nodes share, in milliseconds since 1970. */
export const NOW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

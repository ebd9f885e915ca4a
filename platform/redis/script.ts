import { createHash } from "node:crypto";
import type { Cluster, Redis } from "ioredis";

/** A Lua script. Redis runs a script atomically: no other command runs meanwhile. */
export class Script {
  readonly #lua: string;
  readonly #sha: string;

  constructor(lua: string) {
    this.#lua = lua;
    this.#sha = createHash("sha1").update(lua).digest("hex");
  }

  /** Runs the script by its SHA-1 digest. Sends the whole text only when Redis does not have the script cached. */
  async run(
    redis: Redis | Cluster,
    keys: readonly string[],
    args: readonly (string | number | Buffer)[],
  ): Promise<unknown> {
    try {
      return await redis.evalsha(this.#sha, keys.length, ...keys, ...args);
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error;
      return await redis.eval(this.#lua, keys.length, ...keys, ...args);
    }
  }
}

/**
 * Lua for scripts that need the time: `now` is the clock of Redis in milliseconds since 1970, the same for all nodes.
 */
export const NOW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

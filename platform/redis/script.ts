import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Cluster, Redis } from "ioredis";

/** A Lua script, which Redis runs atomically. */
export class Script {
  readonly #lua: string;
  readonly #sha: string;

  constructor(lua: string) {
    this.#lua = lua;
    this.#sha = createHash("sha1").update(lua).digest("hex");
  }

  /** Sends the text only when Redis has not cached the script. */
  async run(redis: Redis | Cluster, keys: readonly string[], args: readonly (string | number | Buffer)[]) {
    try {
      return await redis.evalsha(this.#sha, keys.length, ...keys, ...args);
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error;
      return await redis.eval(this.#lua, keys.length, ...keys, ...args);
    }
  }
}

/** Reads a script from its file. The build copies the `.lua` files beside the compiled modules. */
export function loadScript(file: URL): Script {
  return new Script(readFileSync(file, "utf8"));
}

/** Lua that sets `now` to the time of Redis, milliseconds since 1970: all nodes share this clock. */
export const NOW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

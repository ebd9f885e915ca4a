import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Redis } from "ioredis";

type Arguments = readonly (string | number | Buffer)[];

/** A Lua script, which Redis runs atomically. */
export class Script {
  readonly #lua: string;
  readonly #sha: string;

  constructor(lua: string) {
    this.#lua = lua;
    this.#sha = createHash("sha1").update(lua).digest("hex");
  }

  /** Sends the text only when Redis has not cached the script. A later call may then overtake this one. */
  async run(redis: Redis, keys: readonly string[], args: Arguments): Promise<unknown> {
    try {
      return await redis.evalsha(this.#sha, keys.length, ...keys, ...args);
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error;
      return await this.runInOrder(redis, keys, args);
    }
  }

  /** Always sends the text, so that calls on one connection run in the order of their calls. */
  runInOrder(redis: Redis, keys: readonly string[], args: Arguments): Promise<unknown> {
    return redis.eval(this.#lua, keys.length, ...keys, ...args);
  }
}

/**
 * Reads `.lua` files from the folder `scripts` beside a module. The build copies that folder beside the compiled module.
 * @param module its `import.meta.url`
 */
export function scriptsOf(module: string) {
  const text = (name: string) => readFileSync(new URL(`scripts/${name}.lua`, module), "utf8");
  return {
    text,
    /** @param parts texts of functions that the script calls */
    load: (name: string, ...parts: readonly string[]) => new Script([...parts, text(name)].join("\n")),
  };
}

/** Lua: `server_time()` returns the time of Redis, milliseconds since 1970. */
export const SERVER_TIME = scriptsOf(import.meta.url).text("server-time");

import { createHash } from "node:crypto";
import type { Cluster, Redis, RedisOptions } from "ioredis";
import { asUnavailable, unavailable } from "./failure-reason.ts";

/** The way to Redis: see `openRedis`. */
export interface RedisSource {
  connect(name: string, options?: Partial<RedisOptions>): Redis | Cluster;
  readonly prefix: string;
}

/** A Lua script, with the name by which Redis knows it once it has seen it. */
export interface Script {
  readonly lua: string;
  readonly sha: string;
}

export function script(lua: string): Script {
  return { lua, sha: createHash("sha1").update(lua).digest("hex") };
}

export type Reply = string | number | null | readonly Reply[];

/** Who waits for an answer is told at once when the connection is gone; a command is never sent a second time. */
const FAIL_AT_ONCE = { enableOfflineQueue: false, maxRetriesPerRequest: 0, autoResendUnfulfilledCommands: false };

/** One connection to Redis. Everything it does may throw {@link StoreUnavailableError}. */
export class Connection {
  readonly redis: Redis | Cluster;
  #closed = false;

  /** @param commandTimeoutMs a command without an answer for so long is given up, and the connection with it */
  constructor(source: RedisSource, name: string, commandTimeoutMs: number) {
    this.redis = source.connect(name, { ...FAIL_AT_ONCE, commandTimeout: commandTimeoutMs });
  }

  get isReady(): boolean {
    return this.redis.status === "ready";
  }

  /** Resolves when commands can be sent. */
  async ready(timeoutMs: number): Promise<void> {
    if (this.isReady) return;
    if (this.#closed) throw unavailable("the journal is closed");
    let lastError: unknown = new Error("Connection timed out");
    const { redis } = this;
    await new Promise<void>((resolve, reject) => {
      const done = (settle: () => void) => {
        clearTimeout(timer);
        redis.off("ready", onReady).off("error", onError).off("end", onEnd);
        settle();
      };
      const onReady = () => done(resolve);
      const onEnd = () => done(() => reject(unavailable("the connection to Redis was closed")));
      const onError = (error: unknown) => {
        lastError = error;
      };
      const timer = setTimeout(() => done(() => reject(asUnavailable(lastError))), timeoutMs);
      redis.on("ready", onReady).on("error", onError).on("end", onEnd);
    });
  }

  /**
   * Runs a script, which is sent as a whole when Redis does not know it.
   * @param key any key of the journal: it tells a cluster where to go
   */
  async run({ sha, lua }: Script, key: string, args: readonly (string | Buffer | number)[]): Promise<Reply> {
    return await this.do(async (redis) => {
      try {
        return asReply(await redis.evalsha(sha, 1, key, ...args));
      } catch (error) {
        if (!(error instanceof Error && error.message.startsWith("NOSCRIPT"))) throw error;
        return asReply(await redis.eval(lua, 1, key, ...args));
      }
    });
  }

  async do<Result>(work: (redis: Redis | Cluster) => Promise<Result>): Promise<Result> {
    try {
      return await work(this.redis);
    } catch (error) {
      // Redis may hang with the connection open: a new one finds out.
      if (error instanceof Error && /timed out/i.test(error.message) && !this.#closed) this.#cut();
      throw asUnavailable(error);
    }
  }

  /** At once, without the goodbye that nobody would answer: late answers must not be taken for a sign of life. */
  #cut(): void {
    const nodes = "nodes" in this.redis ? this.redis.nodes("all") : [this.redis];
    for (const { stream } of nodes) stream?.destroy();
  }

  close(): void {
    this.#closed = true;
    this.redis.disconnect();
  }
}

/** The parts of an answer that is a list. */
export function partsOf(reply: Reply): readonly Reply[] {
  return typeof reply === "object" && reply !== null ? reply : [];
}

function asReply(reply: unknown): Reply {
  if (typeof reply === "string" || typeof reply === "number" || reply === null) return reply;
  if (Array.isArray(reply)) return reply.map(asReply);
  throw new TypeError("Redis answered what no script of the journal answers");
}

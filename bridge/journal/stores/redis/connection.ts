import type { Cluster, Redis } from "ioredis";
import { StoreUnavailableError } from "../../../../platform/errors.ts";
import { FAIL_FAST, type RedisConnections } from "../../../../platform/redis/connections.ts";
import { isTimeout, redisFailureReason } from "../../../../platform/redis/failure-reason.ts";
import type { Script } from "../../../../platform/redis/script.ts";

export type Reply = string | number | null | readonly Reply[];

/** One connection to Redis. Every method may throw {@link StoreUnavailableError}. */
export class Connection {
  readonly redis: Redis | Cluster;
  #closed = false;

  /** @param commandTimeoutMs a command without a reply for this time fails, and the connection is replaced */
  constructor(connections: RedisConnections, name: string, commandTimeoutMs: number) {
    this.redis = connections.connect(name, { ...FAIL_FAST, commandTimeout: commandTimeoutMs });
  }

  get isReady(): boolean {
    return this.redis.status === "ready";
  }

  /** Resolves when commands can be sent. @throws {StoreUnavailableError} after `timeoutMs` */
  async ready(timeoutMs: number): Promise<void> {
    if (this.isReady) return;
    if (this.#closed) throw new StoreUnavailableError("the journal is closed");
    let lastError: unknown = new Error("Connection timed out");
    const { redis } = this;
    await new Promise<void>((resolve, reject) => {
      const done = (settle: () => void) => {
        clearTimeout(timer);
        redis.off("ready", onReady).off("error", onError).off("end", onEnd);
        settle();
      };
      const onReady = () => done(resolve);
      const onEnd = () => done(() => reject(new StoreUnavailableError("the connection to Redis was closed")));
      const onError = (error: unknown) => {
        lastError = error;
      };
      const timer = setTimeout(() => done(() => reject(asUnavailable(lastError))), timeoutMs);
      redis.on("ready", onReady).on("error", onError).on("end", onEnd);
    });
  }

  /** @param key any key of the journal: a Redis Cluster picks the node by this key */
  async run(script: Script, key: string, args: readonly (string | Buffer | number)[]): Promise<Reply> {
    return await this.do(async (redis) => asReply(await script.run(redis, [key], args)));
  }

  async do<Result>(command: (redis: Redis | Cluster) => Promise<Result>): Promise<Result> {
    try {
      return await command(this.redis);
    } catch (error) {
      // Redis may hang while the connection stays open. A new connection shows whether Redis is back.
      if (isTimeout(error) && !this.#closed) this.#destroySockets();
      throw asUnavailable(error);
    }
  }

  /**
   * Closes the sockets without QUIT, which a hanging Redis would not answer. A late reply must not be seen as success.
   */
  #destroySockets(): void {
    const nodes = "nodes" in this.redis ? this.redis.nodes("all") : [this.redis];
    for (const { stream } of nodes) stream?.destroy();
  }

  close(): void {
    this.#closed = true;
    this.redis.disconnect();
  }
}

/** Converts any failure of Redis to the error that tells senders to retry. */
export function asUnavailable(error: unknown): StoreUnavailableError {
  return error instanceof StoreUnavailableError
    ? error
    : new StoreUnavailableError(redisFailureReason(error), { cause: error });
}

export function partsOf(reply: Reply): readonly Reply[] {
  return typeof reply === "object" && reply !== null ? reply : [];
}

function asReply(reply: unknown): Reply {
  if (typeof reply === "string" || typeof reply === "number" || reply === null) return reply;
  if (Array.isArray(reply)) return reply.map(asReply);
  throw new TypeError("a script of the journal returned a value of an unexpected type");
}

import type { Cluster, Redis, RedisOptions } from "ioredis";

/** Replies have the same shape in all versions of the protocol, so `replyMapping` is not an option. */
export type RedisConnectionOptions = Omit<RedisOptions, "replyMapping">;

/** Implemented in `deploy/redis/redis.ts`. */
export interface RedisConnections {
  /** Opens a connection that reconnects by itself. @param name shown by `CLIENT LIST` */
  connect(name: string, options?: Partial<RedisConnectionOptions>): Redis | Cluster;
  /** The prefix of every key. It contains a hash tag, so all keys are in one slot of a Redis Cluster. */
  readonly prefix: string;
}

/** A command fails at once while Redis is unreachable, and ioredis never sends it a second time. */
export const FAIL_FAST = {
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
} as const satisfies Partial<RedisConnectionOptions>;

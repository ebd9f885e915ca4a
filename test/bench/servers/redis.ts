import { type RedisServer, startRedis } from "../../support/redis.ts";
import { whenInterrupted } from "./leftovers.ts";

/**
 * A new redis-server with AOF and the default fsync every second. Ends with the benchmark.
 * @param args options of Redis. Default: none
 */
export async function withRedis<Result>(
  work: (redis: RedisServer) => Promise<Result>,
  args: readonly string[] = [],
): Promise<Result> {
  const redis = await startRedis({ args });
  const done = whenInterrupted(() => redis.process.kill("SIGKILL"));
  try {
    return await work(redis);
  } finally {
    done();
    await redis.remove();
  }
}

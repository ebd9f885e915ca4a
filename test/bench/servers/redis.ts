import { type RedisServer, startRedis } from "../../support/redis.ts";
import { whenInterrupted } from "./leftovers.ts";

/** A new redis-server with AOF, synced every second as by default, that ends with the benchmark. */
export async function withRedis<Result>(work: (redis: RedisServer) => Promise<Result>): Promise<Result> {
  const redis = await startRedis();
  const done = whenInterrupted(() => redis.process.kill("SIGKILL"));
  try {
    return await work(redis);
  } finally {
    done();
    await redis.remove();
  }
}

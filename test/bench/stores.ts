import type { Generator } from "./load/generator.ts";
import { cpuSecondsOf } from "./process-cpu.ts";
import { type BenchOptions, onServer, type Sample } from "./row.ts";
import { withRedis } from "./servers/redis.ts";
import type { EventServer, MqttServer } from "./servers/server.ts";
import { startSkylapse } from "./servers/skylapse.ts";

export const STORES = ["LevelDB", "Redis"] as const;
export type Store = (typeof STORES)[number];

type Work = (
  server: EventServer & MqttServer,
  newGenerator: () => Promise<Generator>,
  /** CPU seconds of redis-server. Always 0 on LevelDB. */
  redisCpuSeconds: () => number,
) => Promise<Sample>;

/** Runs the work on a new server with this store. */
export function onStore(
  store: Store,
  { profileTo }: BenchOptions,
  env: Record<string, string>,
  work: Work,
): Promise<Sample> {
  if (store === "LevelDB") {
    return onServer(
      () => startSkylapse({ profileTo, env }),
      (server, newGenerator) => work(server, newGenerator, () => 0),
    );
  }
  return withRedis((redis) =>
    onServer(
      () => startSkylapse({ profileTo, env: { ...env, REDIS_URL: redis.url } }),
      (server, newGenerator) => work(server, newGenerator, () => cpuSecondsOf(redis.process.pid ?? 0)),
    ),
  );
}

import { hostname } from "node:os";
import { join, resolve } from "node:path";
import type { Logger } from "pino";
import type { Cluster } from "../../bridge/cluster/cluster.ts";
import { openLocalCluster } from "../../bridge/cluster/local/local.ts";
import type { RedisClusterOptions } from "../../bridge/cluster/redis/redis.ts";
import type { RedisConnections } from "../../platform/redis/connections.ts";
import type { Membership } from "../../platform/redis/membership.ts";
import type { RunningParts } from "../../platform/running-parts.ts";
import type { StoreConfig } from "../config/config.ts";
import { demandFinishedRestore } from "./unfinished-restore.ts";

interface OpenClusterOptions extends Pick<RedisClusterOptions, "expiryNow" | "lastStore" | "onDamage" | "settings"> {
  store: StoreConfig;
  dataPath: string;
  /** The list to which opened parts are added, so that the caller can stop them. */
  parts: RunningParts;
  logger: Logger;
}

/**
 * Opens the documents that nodes share: in Redis if `REDIS_URL` is set, otherwise in LevelDB under `DATA_PATH`.
 * @throws {RedisUnusableError} @throws {StoreUnavailableError} @throws {StoreUnusableError}
 * @throws {BackupError} a restore to DATA_PATH is unfinished
 */
export async function openCluster(
  options: OpenClusterOptions,
): Promise<{ cluster: Cluster; redis?: RedisConnections; membership?: Membership }> {
  const { store, dataPath, parts, logger, lastStore, settings, ...shared } = options;
  demandFinishedRestore(dataPath);
  const clusterLogger = logger.child({ part: "cluster" });
  if (store.url === undefined) {
    const path = join(dataPath, "cluster");
    return { cluster: parts.add(await openLocalCluster({ ...shared, path, logger: clusterLogger })) };
  }
  // Imported only if REDIS_URL is set: the Redis client takes 0.2 s to load.
  const { openRedis } = await import("../../platform/redis/connections.ts");
  const { checkRedis } = await import("../../platform/redis/redis-check.ts");
  const { openRedisCluster } = await import("../../bridge/cluster/redis/redis.ts");
  const redisLogger = logger.child({ part: "redis" });
  const redis = openRedis({ ...store, url: store.url, logger: redisLogger });
  parts.add({ stop: () => redis.close() });
  await checkRedis({ redis, logger: redisLogger });
  // The name stays the same, so that the other nodes know at once when a node has ended and starts again.
  const name = `${hostname()}:${resolve(dataPath)}`;
  const cluster = await openRedisCluster({ ...shared, lastStore, settings, name, redis, logger: clusterLogger });
  return { redis, cluster: parts.add(cluster), membership: cluster.membership };
}

import { join } from "node:path";
import type { OnDamage } from "../../platform/level/damage.ts";
import type { RedisConnections } from "../../platform/redis/connections.ts";
import { openLevelStorage } from "./level/level.ts";
import { openRedisStorage, type RedisStorage, type RedisStorageOptions } from "./redis/redis.ts";
import type { BrokerStorage } from "./storage.ts";

interface OpenStorageOptions extends Omit<RedisStorageOptions, "redis"> {
  /** Undefined for a single node, which stores in LevelDB. */
  redis: RedisConnections | undefined;
  dataPath: string;
  onDamage: OnDamage | undefined;
}

export interface OpenedStorage {
  storage: BrokerStorage;
  /** The same storage when it is shared with other nodes; undefined for a single node. */
  cluster: RedisStorage | undefined;
}

/** @throws {StorageError} @throws {StoreUnusableError} */
export async function openStorage({
  redis,
  dataPath,
  onDamage,
  ...options
}: OpenStorageOptions): Promise<OpenedStorage> {
  if (redis !== undefined) {
    const cluster = await openRedisStorage({ ...options, redis });
    return { storage: cluster, cluster };
  }
  const storage = await openLevelStorage({ ...options, onDamage, path: join(dataPath, "mqtt") });
  return { storage, cluster: undefined };
}

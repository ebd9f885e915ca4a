import { hostname } from "node:os";
import { join, resolve } from "node:path";
import type { Logger } from "pino";
import type { Cluster } from "../bridge/cluster/cluster.ts";
import { openLocalCluster } from "../bridge/cluster/local.ts";
import { openRedisCluster } from "../bridge/cluster/redis.ts";
import type { BridgeConfig } from "../bridge/config.ts";
import type { Journal } from "../bridge/journal/journal.ts";
import { openLevelJournal } from "../bridge/journal/level.ts";
import { openRedisJournal } from "../bridge/journal/redis.ts";
import { openPreviews, openRedisPreviews, type Previews } from "../bridge/previews.ts";
import type { OnDamage } from "../platform/level/damage.ts";
import type { StoreConfig } from "./config.ts";
import { openRedis, type RedisAccess } from "./redis.ts";
import { checkRedis } from "./redis-check.ts";

/** Where everything durable is: under `DATA_PATH`, or in Redis for any number of nodes. */
export interface Stores {
  /** Undefined without `REDIS_URL`. */
  redis: RedisAccess | undefined;
  cluster: Cluster;
  journal: Journal;
  previews: Previews;
  /** In reverse order of opening. Idempotent. */
  stop(): Promise<void>;
}

export interface StoresOptions {
  store: StoreConfig;
  bridge: BridgeConfig;
  onDamage: OnDamage;
  logger: Logger;
}

/**
 * Opens the stores; should one not open, those before it are closed.
 * @throws {RedisUnusableError} @throws {StoreUnavailableError} @throws {StoreUnusableError}
 */
export async function openStores({ store, bridge, onDamage, logger }: StoresOptions): Promise<Stores> {
  const opened: { stop(): Promise<void> }[] = [];
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= (async () => {
      for (const part of opened.toReversed()) {
        await part.stop().catch((error: unknown) => logger.error({ err: error }, "a store did not close cleanly"));
      }
    })();
    return stopping;
  };
  const part = (name: string) => ({ logger: logger.child({ part: name }) });
  const { dataPath, previews: limits } = bridge;
  const { sync, retentionEvents, retentionHours } = bridge.journal;
  try {
    if (store.url === undefined) {
      const path = join(dataPath, "journal");
      const journal = await openLevelJournal({
        ...{ path, sync, retentionEvents, retentionHours, onDamage },
        ...part("journal"),
      });
      opened.push({ stop: () => journal.close() });
      const cluster = await openLocalCluster({ path: join(dataPath, "cluster"), onDamage, ...part("cluster") });
      opened.push(cluster);
      const previews = await openPreviews({ path: join(dataPath, "previews"), ...limits });
      opened.push({ stop: () => previews.close() });
      return { redis: undefined, cluster, journal, previews, stop };
    }
    const redis = openRedis({ url: store.url, prefix: store.prefix, ...part("redis") });
    opened.push({ stop: () => redis.close() });
    await checkRedis({ redis, ...part("redis") });
    // The same at the next start, and no other node's: what this one was killed over is then its own to finish, at once.
    const nodeName = `${hostname()}:${resolve(dataPath)}`;
    const journal = await openRedisJournal({ redis, retentionEvents, retentionHours, nodeName, logger });
    opened.push({ stop: () => journal.close() });
    const cluster = await openRedisCluster({ redis, ...part("cluster") });
    opened.push(cluster);
    const previews = openRedisPreviews({ redis, ...limits });
    opened.push({ stop: () => previews.close() });
    return { redis, cluster, journal, previews, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

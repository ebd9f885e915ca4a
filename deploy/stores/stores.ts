import { hostname } from "node:os";
import { join, resolve } from "node:path";
import type { Logger } from "pino";
import { openServerClock, type ServerClock, type ServerClockOptions } from "../../bridge/clock/server-clock.ts";
import type { Cluster } from "../../bridge/cluster/cluster.ts";
import { openLocalCluster } from "../../bridge/cluster/local/local.ts";
import { openRedisCluster } from "../../bridge/cluster/redis/redis.ts";
import type { BridgeConfig } from "../../bridge/config.ts";
import type { Journal } from "../../bridge/journal/journal.ts";
import { withFairShares } from "../../bridge/journal/shared-channels.ts";
import { openLevelJournal } from "../../bridge/journal/stores/level/level.ts";
import { openRedisJournal } from "../../bridge/journal/stores/redis/redis.ts";
import { openPreviews, openRedisPreviews, type Previews } from "../../bridge/previews/previews.ts";
import type { OnDamage } from "../../platform/level/damage.ts";
import type { StoreConfig } from "../config/config.ts";
import { openRedis, type RedisAccess } from "../redis/redis.ts";
import { checkRedis } from "../redis/redis-check.ts";
import { lastStoreIn } from "./last-store.ts";

/** Where everything durable is: under `DATA_PATH`, or in Redis for any number of nodes. */
export interface Stores {
  /** Undefined without `REDIS_URL`. */
  redis: RedisAccess | undefined;
  cluster: Cluster;
  /** The clock by which everything in the stores grows old. */
  clock: ServerClock;
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
  let clock: ServerClock | undefined;
  // Nothing expires before the clock has said what time it is.
  const expiryNow = () => clock?.cautious() ?? 0;
  const part = (name: string) => ({ logger: logger.child({ part: name }) });
  const openClock = async (options: Pick<ServerClockOptions, "documents" | "sharedWall">) => {
    const openedClock = await openServerClock({ ...options, ...part("clock") });
    opened.push(openedClock);
    clock = openedClock;
    return { clock: openedClock, now: () => openedClock.now() };
  };
  const { dataPath, previews: limits } = bridge;
  const { sync, retentionEvents, retentionHours } = bridge.journal;
  try {
    if (store.url === undefined) {
      const cluster = await openLocalCluster({
        ...{ path: join(dataPath, "cluster"), expiryNow, onDamage },
        ...part("cluster"),
      });
      opened.push(cluster);
      const { clock, now } = await openClock({ documents: cluster.documents });
      const path = join(dataPath, "journal");
      const journal = await openLevelJournal({
        ...{ path, sync, retentionEvents, retentionHours, now, onDamage },
        ...part("journal"),
      });
      opened.push({ stop: () => journal.close() });
      const previews = await openPreviews({ path: join(dataPath, "previews"), now, wall: Date.now, ...limits });
      opened.push({ stop: () => previews.close() });
      return { redis: undefined, cluster, clock, journal: withFairShares(journal, bridge.journal), previews, stop };
    }
    const redis = openRedis({ url: store.url, prefix: store.prefix, ...part("redis") });
    opened.push({ stop: () => redis.close() });
    await checkRedis({ redis, ...part("redis") });
    // The same at the next start, and no other node's: what this one was killed over is then its own to finish, at once.
    const nodeName = `${hostname()}:${resolve(dataPath)}`;
    const cluster = await openRedisCluster({
      redis,
      expiryNow,
      onDamage,
      lastStore: lastStoreIn(dataPath),
      ...part("cluster"),
    });
    opened.push(cluster);
    const time = redis.connect("clock");
    opened.push({ stop: async () => time.disconnect() });
    const sharedWall = async () => redisTimeOf(await time.time());
    const { clock, now } = await openClock({ documents: cluster.documents, sharedWall });
    const journal = await openRedisJournal({ redis, retentionEvents, retentionHours, nodeName, now, logger });
    opened.push({ stop: () => journal.close() });
    const previews = openRedisPreviews({ redis, now, wall: Date.now, ...limits });
    opened.push({ stop: () => previews.close() });
    return { redis, cluster, clock, journal: withFairShares(journal, bridge.journal), previews, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** @returns milliseconds since 1970 */
function redisTimeOf([seconds, micros]: readonly (string | number)[]): number {
  return Number(seconds) * 1000 + Math.floor(Number(micros) / 1000);
}

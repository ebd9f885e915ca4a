import { join } from "node:path";
import type { Logger } from "pino";
import { openServerClock, type ServerClock } from "../../bridge/clock/server-clock.ts";
import type { Cluster } from "../../bridge/cluster/cluster.ts";
import type { BridgeConfig } from "../../bridge/config.ts";
import type { Journal } from "../../bridge/journal/journal.ts";
import { withFairShares } from "../../bridge/journal/shared-channels.ts";
import { openLevelJournal } from "../../bridge/journal/stores/level/level.ts";
import { openRedisJournal } from "../../bridge/journal/stores/redis/redis.ts";
import { openPreviews, openRedisPreviews, type Previews } from "../../bridge/previews/previews.ts";
import type { SharedSettings } from "../../platform/config.ts";
import type { OnDamage } from "../../platform/level/damage.ts";
import type { RedisConnections } from "../../platform/redis/connections.ts";
import { RunningParts } from "../../platform/running-parts.ts";
import type { StoreConfig } from "../config/config.ts";
import { openCluster } from "./cluster.ts";
import { lastStoreIn } from "./last-store.ts";

/** All durable data: under `DATA_PATH` for a single node, or in Redis for any number of nodes. */
export interface Stores {
  redis: RedisConnections | undefined;
  cluster: Cluster;
  /** Decides when data expires. */
  clock: ServerClock;
  journal: Journal;
  previews: Previews;
  /** Closes the stores in reverse order of opening. Idempotent. */
  stop(): Promise<void>;
}

interface StoresOptions {
  store: StoreConfig;
  bridge: BridgeConfig;
  /** The settings that must be the same at all nodes. Default: none are compared. */
  shared?: SharedSettings;
  onDamage: OnDamage;
  logger: Logger;
}

/**
 * If a store cannot be opened, all stores that are already open are closed.
 * @throws {RedisUnusableError} @throws {StoreUnavailableError} @throws {StoreUnusableError}
 */
export async function openStores({ store, bridge, shared, onDamage, logger }: StoresOptions): Promise<Stores> {
  const parts = new RunningParts(logger);
  const partLogger = (part: string) => logger.child({ part });
  const { dataPath, previews: limits } = bridge;
  const { sync, retentionEvents, retentionHours } = bridge.journal;
  let clock: ServerClock | undefined;
  try {
    const { cluster, redis, membership } = await openCluster({
      store,
      dataPath,
      parts,
      // The clock is opened later, because the cluster stores the clock. Until then, nothing expires.
      expiryNow: () => clock?.cautious() ?? 0,
      onDamage,
      lastStore: lastStoreIn(dataPath),
      settings: shared && new Map([...store.shared, ...shared]),
      logger,
    });
    const serverClock = parts.add(
      await openServerClock({
        documents: cluster.documents,
        ...(cluster.shared ? { sharedWall: () => cluster.now() } : {}),
        logger: partLogger("clock"),
      }),
    );
    clock = serverClock;
    const now = () => serverClock.now();
    const previews =
      redis === undefined
        ? await openPreviews({ path: join(dataPath, "previews"), now, wall: Date.now, ...limits })
        : openRedisPreviews({ redis, now, wall: Date.now, ...limits });
    parts.add({ stop: () => previews.close() });
    const journal =
      redis === undefined || membership === undefined
        ? await openLevelJournal({
            ...{ path: join(dataPath, "journal"), sync, retentionEvents, retentionHours, now, onDamage, previews },
            logger: partLogger("journal"),
          })
        : await openRedisJournal({
            ...{ redis, membership, retentionEvents, retentionHours, now, previews, onDamage, logger },
          });
    parts.add({ stop: () => journal.close() });
    const sharedJournal = withFairShares(journal, bridge.journal);
    return { redis, cluster, clock, journal: sharedJournal, previews, stop: () => parts.stop() };
  } catch (error) {
    await parts.stop();
    throw error;
  }
}

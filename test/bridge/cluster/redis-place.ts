import { pino } from "pino";
import type { Cluster } from "../../../bridge/cluster/cluster.ts";
import { openRedisCluster, type RedisClusterOptions } from "../../../bridge/cluster/redis/redis.ts";
import { COMMAND_TIMEOUT_MS, openRedis, type RedisConnections } from "../../../platform/redis/connections.ts";
import type { RedisServer } from "../../support/redis.ts";
import type { ClusterPlace } from "./cluster-suite.ts";

/** @param commandTimeoutMs of the node's connections */
export type NodeOptions = Partial<Omit<RedisClusterOptions, "redis">> & { commandTimeoutMs?: number };

export interface RedisPlace extends ClusterPlace {
  prefix: string;
  open(options?: NodeOptions): Promise<Cluster>;
  /** Ends a node as `kill -9` would, without a message to the other nodes. */
  kill(cluster: Cluster): Promise<void>;
}

const logger = pino({ level: process.env.TEST_LOG_LEVEL ?? "silent" });
let places = 0;

/** A place for nodes with their own key prefix, in a Redis that tests share. */
export function redisPlace(redis: Pick<RedisServer, "url">, prefix = `test-${places++}`): RedisPlace {
  const nodes = new Map<Cluster, RedisConnections>();
  return {
    prefix,
    async open({ commandTimeoutMs = COMMAND_TIMEOUT_MS, ...options } = {}) {
      const access = openRedis({ url: redis.url, prefix, commandTimeoutMs, logger: options.logger ?? logger });
      try {
        const cluster = await openRedisCluster({ redis: access, logger, ...options });
        nodes.set(cluster, access);
        return cluster;
      } catch (error) {
        await access.close();
        throw error;
      }
    },
    async kill(cluster) {
      await nodes.get(cluster)?.close();
    },
    async dispose() {
      for (const cluster of nodes.keys()) await cluster.stop();
      for (const access of nodes.values()) await access.close();
    },
  };
}

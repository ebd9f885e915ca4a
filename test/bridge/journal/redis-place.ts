import { Redis } from "ioredis";
import { pino } from "pino";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { openRedis, type RedisConnections } from "../../../platform/redis/connections.ts";
import { type NodeOptions as JournalNodeOptions, openJournalNode } from "../../support/redis-journal.ts";

let count = 0;

/** @param commandTimeoutMs of the node's connections, unless `redis` is given */
export type NodeOptions = Partial<JournalNodeOptions> & { commandTimeoutMs?: number };

export interface RedisPlace {
  /** The prefix of this place's keys. Each place in the same Redis has its own prefix. */
  prefix: string;
  /** The log lines of level warn and above. */
  logged: string[];
  /** Closes the previously opened journal, and opens the journal. */
  open(options?: NodeOptions): Promise<Journal>;
  /** Opens the journal as another node. */
  openNode(options?: NodeOptions): Promise<Journal>;
  /** For commands that the tests send themselves. */
  admin: Redis;
  /** Connections that no journal uses. */
  redis: RedisConnections;
  dispose(): Promise<void>;
}

/** A journal in a Redis that may be shared, and the nodes that have it open. */
export async function createRedisPlace(url: string): Promise<RedisPlace> {
  const logged: string[] = [];
  const logger = pino({ level: "warn" }, { write: (line: string) => logged.push(line) });
  const prefix = `test-${process.pid}-${++count}`;
  const connections: RedisConnections[] = [];
  const connect = (commandTimeoutMs?: number) => {
    const redis = openRedis({ url, prefix, logger, ...(commandTimeoutMs === undefined ? {} : { commandTimeoutMs }) });
    connections.push(redis);
    return redis;
  };
  const admin = new Redis(url.replace("redis+cluster", "redis"), { lazyConnect: true });
  // Tests stop Redis on purpose.
  admin.on("error", () => undefined);
  const nodes: Journal[] = [];
  let journal: Journal | undefined;
  const openNode = async ({ commandTimeoutMs, redis = connect(commandTimeoutMs), ...options }: NodeOptions = {}) => {
    const retention = { retentionEvents: 10_000, retentionHours: 24 };
    const node = await openJournalNode({ redis, logger, ...retention, ...options });
    nodes.push(node);
    return node;
  };
  const redis = connect();
  return {
    prefix: redis.prefix,
    ...{ logged, admin, redis, openNode },
    async open(options) {
      await journal?.close();
      journal = await openNode(options);
      return journal;
    },
    async dispose() {
      await Promise.all(nodes.map((node) => node.close()));
      await Promise.all(connections.map((one) => one.close()));
      admin.disconnect();
    },
  };
}

import { pino } from "pino";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { openRedis, type RedisAccess } from "../../../deploy/redis/redis.ts";
import { type NodeOptions, openJournalNode } from "../../support/redis-journal.ts";

let count = 0;

export interface RedisPlace {
  /** The prefix of this place's keys. Each place in the same Redis has its own prefix. */
  prefix: string;
  /** The log lines of level warn and above. */
  logged: string[];
  /** Closes the previously opened journal, and opens the journal. */
  open(options?: Partial<NodeOptions>): Promise<Journal>;
  /** Opens the journal as another node. */
  openNode(options?: Partial<NodeOptions>): Promise<Journal>;
  /** For commands that the tests send themselves. */
  redis: RedisAccess;
  dispose(): Promise<void>;
}

/** A journal in a Redis that may be shared, and the nodes that have it open. */
export async function createRedisPlace(url: string): Promise<RedisPlace> {
  const logged: string[] = [];
  const logger = pino({ level: "warn" }, { write: (line: string) => logged.push(line) });
  const redis = openRedis({ url, prefix: `test-${process.pid}-${++count}`, logger });
  const nodes: Journal[] = [];
  let journal: Journal | undefined;
  const openNode = async (options: Partial<NodeOptions> = {}) => {
    const retention = { retentionEvents: 10_000, retentionHours: 24 };
    const node = await openJournalNode({ redis, logger, ...retention, ...options });
    nodes.push(node);
    return node;
  };
  return {
    prefix: redis.prefix,
    logged,
    redis,
    openNode,
    async open(options) {
      await journal?.close();
      journal = await openNode(options);
      return journal;
    },
    async dispose() {
      await Promise.all(nodes.map((node) => node.close()));
      await redis.close();
    },
  };
}

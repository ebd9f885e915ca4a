import { Redis } from "ioredis";
import pino from "pino";
import { onTestFinished } from "vitest";
import { openRedis } from "../../platform/redis/connections.ts";
import { startChildProgram } from "../support/child-program.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import {
  type BrokerUnderTest,
  type BrokerUnderTestOptions,
  startTestBroker,
  temporaryFolder,
} from "./broker-under-test.ts";
import type { ChildOptions, ChildReport } from "./redis-node-child.ts";

let count = 0;

export interface Nodes {
  server: RedisServer;
  /** The prefix of the journal's keys, `{name}:journal:`. */
  prefix: string;
  /** Starts another broker on the same Redis. */
  start(env?: Record<string, string>, options?: BrokerUnderTestOptions): Promise<BrokerUnderTest>;
  /** Starts another broker in a separate process, which can be killed. */
  startProcess(env?: Record<string, string>, waits?: ChildOptions["waits"]): Promise<NodeProcess>;
  /** A connection of the test itself. */
  redis: Redis;
  keys(): Promise<string[]>;
}

export interface NodeProcess {
  url: string;
  kill(): Promise<void>;
}

/** Nodes on one Redis. Other tests may share this Redis, because the nodes have their own key prefix. */
export async function nodes({ on, cluster = false }: { on?: RedisServer; cluster?: boolean } = {}): Promise<Nodes> {
  const server = on ?? (await ownRedis());
  const url = cluster ? `redis+cluster://127.0.0.1:${server.port}` : server.url;
  const name = `test-${process.pid}-${++count}`;
  const redis = new Redis(server.url, { retryStrategy: () => 50, maxRetriesPerRequest: null });
  // Tests stop Redis on purpose.
  redis.on("error", () => undefined);
  onTestFinished(() => redis.disconnect());
  return {
    server,
    prefix: `{${name}}:journal:`,
    redis,
    keys: async () => (await redis.keys(`{${name}}:*`)).sort(),
    start: (env = {}, options = {}) => {
      const access = openRedis({ url, prefix: name, logger: pino({ level: "silent" }) });
      onTestFinished(() => access.close());
      return startTestBroker({ ...options, env, redis: access });
    },
    startProcess: (env = {}, waits = {}) => startNodeProcess({ url, name, env, waits, dataPath: temporaryFolder() }),
  };
}

export async function ownRedis(): Promise<RedisServer> {
  const server = await startRedis();
  onTestFinished(() => server.remove());
  return server;
}

async function startNodeProcess(options: ChildOptions): Promise<NodeProcess> {
  const child = startChildProgram<never, ChildReport>("broker/redis-node-child", JSON.stringify(options));
  onTestFinished(child.kill);
  const port = await new Promise<number>((resolve, reject) => {
    child.onMessage((report) => resolve(report.port));
    void child.ended.then(reject);
  });
  return { url: `mqtt://127.0.0.1:${port}`, kill: child.kill };
}

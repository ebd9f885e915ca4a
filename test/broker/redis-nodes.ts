import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Redis } from "ioredis";
import pino from "pino";
import { onTestFinished } from "vitest";
import { openRedis } from "../../deploy/redis/redis.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import {
  type BrokerUnderTest,
  type BrokerUnderTestOptions,
  startTestBroker,
  temporaryFolder,
} from "./broker-under-test.ts";

let count = 0;

export interface Nodes {
  server: RedisServer;
  /** The prefix of all keys, `{name}:mqtt:`. */
  prefix: string;
  /** Starts another broker on the same Redis. */
  start(env?: Record<string, string>, options?: BrokerUnderTestOptions): Promise<BrokerUnderTest>;
  /** Starts another broker in a separate process, which can be killed. */
  startProcess(env?: Record<string, string>): Promise<NodeProcess>;
  /** A connection of the test itself. */
  redis: Redis;
  keys(): Promise<string[]>;
}

export interface NodeProcess {
  url: string;
  /** The numbers of the publications that were forwarded. */
  readonly emitted: readonly number[];
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
    prefix: `{${name}}:mqtt:`,
    redis,
    keys: async () => (await redis.keys(`{${name}}:*`)).sort(),
    start: (env = {}, options = {}) => {
      const access = openRedis({ url, prefix: name, logger: pino({ level: "silent" }) });
      onTestFinished(() => access.close());
      return startTestBroker({ ...options, env, redis: access });
    },
    startProcess: (env = {}) => startNodeProcess({ url, name, env, dataPath: temporaryFolder() }),
  };
}

export async function ownRedis(): Promise<RedisServer> {
  const server = await startRedis();
  onTestFinished(() => server.remove());
  return server;
}

// Node.js 20 cannot run TypeScript, but Vite's module runner can.
const LOAD = `
  import { runnerImport } from "vite";
  await runnerImport(process.argv.at(-2), { configFile: false, logLevel: "silent" });
`;
const CHILD = fileURLToPath(new URL("./redis-node-child.ts", import.meta.url));

export interface ChildOptions {
  url: string;
  name: string;
  env: Record<string, string>;
  dataPath: string;
}

async function startNodeProcess(options: ChildOptions): Promise<NodeProcess> {
  const child = spawn(process.execPath, ["--input-type=module", "-e", LOAD, CHILD, JSON.stringify(options)], {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const exited = once(child, "exit");
  const kill = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  onTestFinished(kill);
  const emitted: number[] = [];
  const port = await new Promise<number>((resolve, reject) => {
    child.on("message", (message: { port?: number; emitted?: number }) => {
      if (message.port !== undefined) resolve(message.port);
      if (message.emitted !== undefined) emitted.push(message.emitted);
    });
    child.once("exit", () => reject(new Error("the node has ended")));
  });
  return { url: `mqtt://127.0.0.1:${port}`, emitted, kill };
}

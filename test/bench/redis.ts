import type { RedisServer } from "../support/redis.ts";
import { costOfSingles, EVENT_BYTES, openFanOut, perDelivery, SINGLE_INTERVAL_MS, WARM_UP_SECONDS } from "./fan-out.ts";
import { IN_FLIGHT, ingestCost, PAYLOAD_BYTES, PUBLISHERS } from "./ingest-qos1.ts";
import { FIRST_NUMBER } from "./load/event.ts";
import { type Generator, startGenerator } from "./load/generator.ts";
import { cpuSecondsOf } from "./process-cpu.ts";
import { type BenchOptions, onServer, type Row, type Sample, sleep } from "./row.ts";
import { withRedis } from "./servers/redis.ts";
import { startSkylapse } from "./servers/skylapse.ts";

const DASHBOARDS = 1000;
const NODES = [1, 2, 3] as const;
const DASHBOARDS_PER_NODE = 300;
const BURST = 20;
const WINDOW = 100;

export const redisIngest: Row = {
  name: "redis-ingest",
  title: `QoS 1 in, on Redis and on LevelDB: ${PUBLISHERS} publishers with ${IN_FLIGHT} messages in flight each`,
  method: ({ seconds }) =>
    `Payloads of ${PAYLOAD_BYTES} B for ${seconds} s, every one acknowledged. Redis writes its log to the disk every second\n` +
    "(appendfsync everysec), LevelDB before each acknowledgement.",
  figures: [
    { key: "perSecond", label: "acknowledged messages per second", unit: "/s", target: { ratioAtLeast: 0.7 } },
    { key: "cpuMicros", label: "server CPU per message", unit: "µs" },
    { key: "redisMicros", label: "redis-server CPU per message", unit: "µs" },
  ],
  sides: (options) => [
    {
      name: "Redis",
      measure: () =>
        withRedis((redis) =>
          onServer(
            () => startSkylapse({ ...options, env: { REDIS_URL: redis.url } }),
            async (server, newGenerator) => {
              const cpu = () => cpuSecondsOf(redis.process.pid ?? 0);
              const { messages, redisSeconds, sample } = await ingestCost(server, await newGenerator(), options, cpu);
              return { ...sample, redisMicros: (redisSeconds / messages) * 1e6 };
            },
          ),
        ),
    },
    {
      name: "LevelDB",
      measure: () =>
        onServer(
          () => startSkylapse(options),
          async (server, newGenerator) => (await ingestCost(server, await newGenerator(), options)).sample,
        ),
    },
  ],
};

export const redisReplica: Row = {
  name: "redis-replica",
  title: "QoS 1 in, on Redis with a replica: acknowledged when the replica has the message, and before",
  method: ({ seconds }) => `As \`redis-ingest\`: ${PAYLOAD_BYTES} B, ${seconds} s. The replica is on the same machine.`,
  figures: [
    { key: "perSecond", label: "acknowledged messages per second", unit: "/s" },
    { key: "cpuMicros", label: "server CPU per message", unit: "µs" },
  ],
  sides: (options) =>
    ["1", "0"].map((replicas) => ({
      name: `REDIS_WAIT_REPLICAS=${replicas}`,
      measure: () => withRedis((redis) => measureWithReplica(redis, replicas, options)),
    })),
};

function measureWithReplica({ url, port }: RedisServer, replicas: string, options: BenchOptions): Promise<Sample> {
  const env = { REDIS_URL: url, REDIS_WAIT_REPLICAS: replicas };
  return withRedis(
    () =>
      onServer(
        () => startSkylapse({ ...options, env }),
        async (server, newGenerator) => {
          // The replica has connected.
          await sleep(3);
          return (await ingestCost(server, await newGenerator(), options)).sample;
        },
      ),
    ["--replicaof", "127.0.0.1", String(port)],
  );
}

export const redisFanOut: Row = {
  name: "redis-fan-out",
  title: "one event at a time to 1,000 dashboards, on Redis and on LevelDB",
  method: ({ seconds }) =>
    `Events of ${EVENT_BYTES} B, each sent when all dashboards have the last and ${SINGLE_INTERVAL_MS} ms are over, for ${seconds} s.`,
  figures: [
    { key: "cpuMicros", label: "server CPU per delivery", unit: "µs", target: { ratioAtMost: 1.2 } },
    { key: "perSecond", label: "deliveries per second", unit: "/s" },
  ],
  sides: (options) => [
    { name: "Redis", measure: () => withRedis((redis) => singles(options, { REDIS_URL: redis.url })) },
    { name: "LevelDB", measure: () => singles(options, {}) },
  ],
};

function singles(options: BenchOptions, env: Record<string, string>): Promise<Sample> {
  return onServer(
    () => startSkylapse({ ...options, env }),
    async (server, newGenerator) =>
      costOfSingles(server, await newGenerator(), { dashboards: DASHBOARDS, seconds: options.seconds }),
  );
}

export const redisNodes: Row = {
  name: "redis-nodes",
  title: `1, 2 and 3 nodes on one Redis, ${DASHBOARDS_PER_NODE} dashboards on each`,
  method: ({ seconds }) =>
    `Events of ${EVENT_BYTES} B in bursts of ${BURST} for ${seconds} s, all published at the first node, at most ${WINDOW} of them not yet with\n` +
    "all dashboards of that node; then all dashboards of all nodes must have all. All on this one machine.",
  figures: NODES.flatMap((nodes) => [
    {
      key: `perSecond${nodes}`,
      label: `deliveries per second, ${nodes} ${nodes === 1 ? "node" : "nodes"}`,
      unit: "/s",
    },
    { key: `cpuMicros${nodes}`, label: "  CPU of all nodes per delivery", unit: "µs" },
  ]),
  sides: (options) => [
    {
      name: "Skylapse",
      measure: async () => {
        const sample: Record<string, number> = {};
        for (const nodes of NODES) {
          const { perSecond, cpuMicros } = await overNodes(nodes, options);
          sample[`perSecond${nodes}`] = perSecond ?? Number.NaN;
          sample[`cpuMicros${nodes}`] = cpuMicros ?? Number.NaN;
        }
        return sample;
      },
    },
  ],
};

function overNodes(count: number, options: BenchOptions): Promise<Sample> {
  return withRedis(async (redis) => {
    const servers: Awaited<ReturnType<typeof startSkylapse>>[] = [];
    const others: Generator[] = [];
    const first = await startGenerator();
    try {
      while (servers.length < count) servers.push(await startSkylapse({ ...options, env: { REDIS_URL: redis.url } }));
      const [ingress, ...rest] = servers;
      if (ingress === undefined) throw new Error("no node was started");
      await openFanOut(ingress, first, { dashboards: DASHBOARDS_PER_NODE });
      for (const server of rest) {
        const generator = await startGenerator();
        others.push(generator);
        await generator.call("openDashboards", {
          dialect: server.dialect,
          port: server.port,
          tokens: server.tokens(DASHBOARDS_PER_NODE),
          first: FIRST_NUMBER,
          keepPlaces: false,
        });
      }
      const bursts = { size: BURST, window: WINDOW };
      await first.call("publishBursts", { ...bursts, seconds: WARM_UP_SECONDS });
      const cpu = (parts: readonly { cpuSeconds(): number }[]) =>
        parts.reduce((sum, part) => sum + part.cpuSeconds(), 0);
      const before = { servers: cpu(servers), generators: cpu([first, ...others]) };
      const begin = performance.now();
      const delivered = await first.call("publishBursts", { ...bursts, seconds: options.seconds });
      const deliveries = (await first.call("nextNumber")) - FIRST_NUMBER;
      for (const other of others) await other.call("reached", { deliveries: deliveries * DASHBOARDS_PER_NODE });
      return perDelivery({
        result: {
          events: delivered.events,
          deliveries: delivered.events * DASHBOARDS_PER_NODE * count,
          seconds: (performance.now() - begin) / 1000,
        },
        serverSeconds: cpu(servers) - before.servers,
        generatorSeconds: cpu([first, ...others]) - before.generators,
      });
    } finally {
      await Promise.all([first, ...others].map((generator) => generator.stop()));
      await Promise.all(servers.map((server) => server.stop()));
    }
  });
}

// What events, connections and sessions cost one Redis, and what remains in Redis when all clients have left.
// Usage: node dist/test/bench/redis-capacity.js costs | remains

import { Redis } from "ioredis";
import { connectAsync } from "mqtt";
import { topicTree } from "../../contract/topics.ts";
import type { RedisServer } from "../support/redis.ts";
import { FIRST_NUMBER } from "./load/event.ts";
import { type Generator, startGenerator } from "./load/generator.ts";
import { cpuSecondsOf } from "./process-cpu.ts";
import { sleep } from "./row.ts";
import { withRedis } from "./servers/redis.ts";
import { benchTopic, startSkylapse } from "./servers/skylapse.ts";

const PAYLOAD_BYTES = 400;
const PUBLISHERS = 10;
const IN_FLIGHT = 20;
const SECONDS = 5;
const RATES = [100, 1_000];
const CONNECTIONS = 500;
const SESSIONS = 1_000;
const RETAINED = 5_000;
const KEPT_EVENTS = 30_000;
const PUBLISHED_EVENTS = 50_000;
/** Redis keeps removed events for a minute, and retention runs every minute. */
const SETTLE_SECONDS = 130;

type Node = Awaited<ReturnType<typeof startSkylapse>>;

interface Nodes {
  nodes: readonly Node[];
  first: Node;
  redis: Redis;
  newGenerator(): Promise<Generator>;
  /** CPU seconds of redis-server during the work. */
  cpuOf(work: () => Promise<unknown>): Promise<number>;
  /** Bytes by which the memory of Redis grows during the work. */
  memoryOf(work: () => Promise<unknown>): Promise<number>;
}

const report = (what: string, value: number, unit: string) =>
  process.stdout.write(`${what.padEnd(66)} ${value >= 100 ? Math.round(value) : value.toPrecision(3)} ${unit}\n`);

async function onNodes(count: number, env: Record<string, string>, work: (nodes: Nodes) => Promise<void>) {
  await withRedis(async (server: RedisServer) => {
    const nodes: Node[] = [];
    const generators: Generator[] = [];
    const redis = new Redis(server.url);
    const used = async () => Number(/used_memory:(\d+)/.exec(await redis.info("memory"))?.[1]);
    const cpu = () => cpuSecondsOf(server.process.pid ?? 0);
    try {
      while (nodes.length < count) nodes.push(await startSkylapse({ env: { REDIS_URL: server.url, ...env } }));
      const [first] = nodes;
      if (first === undefined) throw new Error("no node was started");
      await work({
        ...{ nodes, first, redis },
        async newGenerator() {
          const generator = await startGenerator();
          generators.push(generator);
          return generator;
        },
        async cpuOf(task) {
          const before = cpu();
          await task();
          return cpu() - before;
        },
        async memoryOf(task) {
          const before = await used();
          await task();
          return (await used()) - before;
        },
      });
    } finally {
      redis.disconnect();
      await Promise.all(generators.map((generator) => generator.stop()));
      await Promise.all(nodes.map((node) => node.stop()));
    }
  });
}

const login = (node: Node, name: string) => ({ ...node.login(name), port: node.mqttPort });

async function costOfEvents(count: number): Promise<void> {
  await onNodes(count, { ARCHIVE: "off" }, async ({ nodes, first, newGenerator, cpuOf }) => {
    const at = `${count} ${count === 1 ? "node" : "nodes"}`;
    await sleep(SECONDS);
    const idle = (await cpuOf(() => sleep(2 * SECONDS))) / (2 * SECONDS);
    report(`CPU without load, ${at}`, idle * 100, "% of a core");

    const feed = await newGenerator();
    await feed.call("openFeed", first.feed(PAYLOAD_BYTES));
    const seconds = 2 * SECONDS;
    for (const perSecond of RATES) {
      const even = await cpuOf(() => feed.call("publishPaced", { perSecond, seconds }));
      report(`CPU of an event, ${perSecond} a second, ${at}`, (even / seconds - idle) * (1e6 / perSecond), "µs");
    }

    const generators = await Promise.all(nodes.map(newGenerator));
    for (const [index, node] of nodes.entries())
      await generators[index]?.call("startIngest", {
        inFlight: IN_FLIGHT,
        publishers: Array.from({ length: PUBLISHERS }, (_, n) => ({
          ...login(node, `bench-${index}-${n}`),
          ...{ topic: benchTopic(`bench-${index}-${n}`), payloadBytes: PAYLOAD_BYTES },
        })),
      });
    const acknowledged = async () =>
      (await Promise.all(generators.map((each) => each.call("acknowledged")))).reduce(
        (sum, { count: n }) => sum + n,
        0,
      );
    await sleep(2);
    const before = await acknowledged();
    const full = await cpuOf(() => sleep(SECONDS));
    const events = (await acknowledged()) - before;
    report(`events a second, as fast as possible, ${at}`, events / SECONDS, "/s");
    report(`CPU of an event, as fast as possible, ${at}`, (full / events) * 1e6, "µs");
    report(`CPU of Redis meanwhile, ${at}`, (full / SECONDS) * 100, "% of a core");
    for (const generator of generators) await generator.call("stopIngest");
  });
}

async function costOfClients(): Promise<void> {
  const env = { ARCHIVE: "off", RETENTION_EVENTS: "1000000", MAX_RETAINED_BYTES: "0" };
  await onNodes(1, { ...env, MAX_MQTT_SESSIONS_PER_USER: "0" }, async ({ first, newGenerator, cpuOf, memoryOf }) => {
    let bytes = 0;
    const cost = async (what: string, count: number, work: () => Promise<unknown>) => {
      const seconds = await cpuOf(async () => {
        bytes = await memoryOf(work);
      });
      report(`memory of ${what}`, bytes / count, "bytes");
      report(`CPU of ${what}, once`, (seconds / count) * 1e6, "µs");
    };
    const feed = await newGenerator();
    await feed.call("openFeed", first.feed(PAYLOAD_BYTES));
    await cost("an event that the journal keeps", KEPT_EVENTS, () => feed.call("publishAll", { count: KEPT_EVENTS }));

    const dashboards = await newGenerator();
    const { dialect, port } = first;
    const options = { dialect, port, first: FIRST_NUMBER, keepPlaces: false };
    await cost("a connected dashboard", CONNECTIONS, () =>
      dashboards.call("openDashboards", { ...options, tokens: first.tokens(CONNECTIONS) }),
    );
    const sessions = await newGenerator();
    const logins = Array.from({ length: SESSIONS }, (_, index) => first.login(`away-${index}`));
    await cost("an MQTT session whose client is away", SESSIONS, () =>
      sessions.call("openAwaySessions", { port: first.mqttPort, filter: "skylapse/v1/cameras/none/#", qos: 1, logins }),
    );
    const { clientId, username = "", password = "" } = first.login("states");
    const client = await connectAsync(`mqtt://127.0.0.1:${first.mqttPort}`, { clientId, username, password });
    const tree = topicTree();
    const payload = JSON.stringify({ value: "x".repeat(PAYLOAD_BYTES) });
    await cost(`a retained state of ${PAYLOAD_BYTES} bytes`, RETAINED, async () => {
      for (let n = 0; n < RETAINED; n += 100)
        await Promise.all(
          Array.from({ length: 100 }, (_, index) => {
            const topic = tree.build({ kind: "camera-state", camera: `c${(n + index) % 100}`, name: `s${n + index}` });
            return client.publishAsync(topic, payload, { qos: 1, retain: true });
          }),
        );
    });
    await client.endAsync();
  });
}

/** Keys without the names of clients, channels, runs and senders. */
function kindOf(key: string): string {
  return key.replace(/^\{[^}]*\}:/, "").replace(/^(journal|cluster):([a-z-]+):.*$/, "$1:$2:…");
}

async function remains(): Promise<void> {
  await onNodes(3, { ARCHIVE: "off", RETENTION_EVENTS: "1000" }, async ({ nodes, first, redis, newGenerator }) => {
    const used = async () => Number(/used_memory:(\d+)/.exec(await redis.info("memory"))?.[1]) / 1024 ** 2;
    const clients = async () => {
      const list = String(await redis.client("LIST"));
      return (list.match(/name=skylapse-/g)?.length ?? 0) / nodes.length;
    };
    report("memory of Redis before", await used(), "MiB");
    const generators = await Promise.all(nodes.map(newGenerator));
    for (const [index, node] of nodes.entries()) {
      const { dialect, port } = node;
      await generators[index]?.call("openDashboards", {
        ...{ dialect, port, first: FIRST_NUMBER, keepPlaces: false, tokens: node.tokens(20) },
      });
    }
    const feed = await newGenerator();
    await feed.call("openFeed", first.feed(PAYLOAD_BYTES));
    await feed.call("publishAll", { count: PUBLISHED_EVENTS });
    report(`memory of Redis after ${PUBLISHED_EVENTS} events`, await used(), "MiB");
    report("connections of a node to Redis, with clients", await clients(), "");
    await Promise.all([feed, ...generators].map((generator) => generator.stop()));
    await sleep(SETTLE_SECONDS);
    report("memory of Redis afterwards, without clients", await used(), "MiB");
    report("connections of a node to Redis", await clients(), "");
    const kinds = new Map<string, { keys: number; bytes: number }>();
    for (const key of await redis.keys("*")) {
      const kind = kinds.get(kindOf(key)) ?? { keys: 0, bytes: 0 };
      kind.keys++;
      kind.bytes += Number(await redis.memory("USAGE", key, "SAMPLES", 0));
      kinds.set(kindOf(key), kind);
    }
    const sum = [...kinds.values()].reduce((total, { keys }) => total + keys, 0);
    report("keys", sum, "");
    for (const [kind, { keys, bytes }] of [...kinds].sort(([, one], [, other]) => other.bytes - one.bytes))
      process.stdout.write(
        `  ${kind.padEnd(44)} ${String(keys).padStart(6)} keys ${String(bytes).padStart(10)} bytes\n`,
      );
  });
}

const [, , what] = process.argv;
if (what === "remains") await remains();
else if (what === "costs") {
  for (const count of [1, 3]) await costOfEvents(count);
  await costOfClients();
} else {
  process.stderr.write("usage: node dist/test/bench/redis-capacity.js costs | remains\n");
  process.exitCode = 2;
}

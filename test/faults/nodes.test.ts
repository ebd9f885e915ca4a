import mqtt from "mqtt";
import { afterEach, expect, it } from "vitest";
import { WebSocket } from "ws";
import { createClient } from "../../dashboard-client/index.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { startRoundRobin } from "../support/round-robin.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";
import { Publisher } from "./publisher.ts";

/** The short form. `npm run test:long` does the long form. */
const LONG = process.env.LONG_TESTS !== undefined;
const NODES = 3;
const DASHBOARDS = LONG ? 30 : 6;
const EVENTS_PER_PUBLISHER = LONG ? 5_000 : 700;
const PUBLISHERS = ["north", "south", "west"];

const cleanUps: (() => Promise<unknown> | unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

interface Deployment {
  nodes: readonly Skylapse[];
  redis: RedisServer;
  startNode(index: number): Promise<void>;
}

const PLANS: readonly (readonly [what: string, blows: readonly ((deployment: Deployment) => Promise<void>)[]])[] = [
  [
    `each of ${NODES} nodes is killed and Redis is killed`,
    [
      ...Array.from({ length: NODES }, (_, index) => async ({ nodes, startNode }: Deployment) => {
        await nodes[index]?.end("SIGKILL");
        await startNode(index);
      }),
      async ({ redis }) => {
        await redis.stop("SIGKILL");
        await redis.start();
      },
    ],
  ],
  [
    `${NODES} nodes are restarted one after the other`,
    Array.from({ length: NODES }, (_, index) => async ({ nodes, startNode }: Deployment) => {
      expect(await nodes[index]?.end("SIGTERM")).toBe(0);
      await startNode(index);
    }),
  ],
];

it.each(PLANS)(
  "loses no acknowledged event and shows no event twice while %s",
  {
    timeout: 600_000,
  },
  async (_, blows) => {
    // By default, Redis may answer up to two seconds before it writes its log: kill -9 would lose these events.
    const redis = await startRedis({ args: ["--appendfsync", "always"] });
    cleanUps.push(() => redis.remove());
    const web = await startRoundRobin();
    const broker = await startRoundRobin();
    cleanUps.push(() => Promise.all([web.stop(), broker.stop()]));
    const env = {
      JWT_SECRET,
      OPERATOR_KEY: "operator-key-of-the-tests",
      REDIS_URL: redis.url,
      LOG_LEVEL: "error",
      RETENTION_EVENTS: "200000",
      MAX_OFFLINE_MESSAGES: "0",
      MAX_OFFLINE_BYTES: "0",
    };
    const nodes: Skylapse[] = [];
    const startNode = async (index: number) => {
      const dataPath = makeDataPath();
      const node = await startSkylapse({ dataPath, env });
      nodes[index] = node;
      cleanUps.push(async () => {
        await node.end("SIGKILL");
        removeDataPath(dataPath);
      });
      const portOf = (url: string) => Number(new URL(url).port);
      web.setTargets(nodes.map(({ http }) => portOf(http)));
      broker.setTargets(nodes.map((each) => portOf(each.mqtt)));
    };
    for (let index = 0; index < NODES; index++) await startNode(index);

    const dashboards = Array.from({ length: DASHBOARDS }, (_, index) => {
      const shown = new Map<string, number[]>(PUBLISHERS.map((camera) => [camera, []]));
      const gaps: unknown[] = [];
      const client = createClient({
        url: `ws://127.0.0.1:${web.port}/ws`,
        getToken: async () => signToken(`viewer-${index}`, ["dashboard:read"]),
        WebSocket,
        backoff: { minDelayMs: 20, maxDelayMs: 300 },
      });
      cleanUps.push(() => client.close());
      const subscription = client.subscribe("dashboard", {
        onEvent: ({ event, camera, data }) => {
          if (event === "capture.completed") shown.get(camera ?? "")?.push((data as { n: number }).n);
        },
        onGap: (gap) => gaps.push(gap),
      });
      client.connect();
      return { shown, gaps, subscription };
    });
    for (const { subscription } of dashboards) await expect.poll(() => subscription.state.status).toBe("live");

    // A subscriber with a persistent session, whose queue is available on every node.
    const received = new Map<string, Set<number>>(PUBLISHERS.map((camera) => [camera, new Set()]));
    const subscriber = mqtt.connect(`mqtt://127.0.0.1:${broker.port}`, {
      clientId: "watcher",
      clean: false,
      username: "watcher",
      password: signToken("watcher", ["camera:read"]),
      reconnectPeriod: 50,
    });
    subscriber.on("error", () => {});
    cleanUps.push(() => subscriber.endAsync(true));
    subscriber.on("message", (topic, payload) => {
      received.get(topic.split("/")[3] ?? "")?.add(JSON.parse(String(payload)).data.n);
    });
    await new Promise<void>((resolve) => subscriber.once("connect", () => resolve()));
    await subscriber.subscribeAsync("skylapse/v1/cameras/+/events/#", { qos: 1 });

    const publishers = PUBLISHERS.map(
      (camera) => new Publisher(`mqtt://127.0.0.1:${broker.port}`, camera, EVENTS_PER_PUBLISHER),
    );
    cleanUps.push(() => {
      for (const publisher of publishers) publisher.stop();
    });
    const total = publishers.length * EVENTS_PER_PUBLISHER;
    const acknowledged = () => publishers.reduce((sum, publisher) => sum + publisher.acknowledged.size, 0);
    for (const [index, blow] of blows.entries()) {
      const moment = ((index + Math.random()) / blows.length) * total * 0.95;
      await expect.poll(acknowledged, { interval: 2 }).toBeGreaterThanOrEqual(moment);
      await blow({ nodes, redis, startNode });
    }
    await Promise.all(publishers.map((publisher) => publisher.done));

    const all = Array.from({ length: EVENTS_PER_PUBLISHER }, (_, n) => n + 1);
    for (const camera of PUBLISHERS) {
      await expect.poll(() => received.get(camera)?.size).toBe(all.length);
      for (const { shown, gaps } of dashboards) {
        await expect.poll(() => shown.get(camera)?.length).toBe(all.length);
        expect(shown.get(camera)).toEqual(all);
        expect(gaps).toEqual([]);
      }
    }
  },
);

import { afterEach, expect, it } from "vitest";
import { WebSocket } from "ws";
import { createClient } from "../../dashboard-client/index.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { LONG, TIMEOUT_MS, WAIT_MS } from "../support/long-form.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { startRoundRobin } from "../support/round-robin.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";
import { Publisher } from "./publisher.ts";
import { SessionCrowd } from "./session-client.ts";

const NODES = 3;
const DASHBOARDS = LONG ? 30 : 6;
const MESSAGES_PER_PUBLISHER = LONG ? 12_500 : 500;
const CAMERAS = ["north", "south"];
/** How often each node and Redis are killed. */
const KILLS = LONG ? 5 : 1;

const cleanUps: (() => Promise<unknown> | unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

interface Deployment {
  nodes: readonly Skylapse[];
  redis: RedisServer;
  startNode(index: number): Promise<void>;
}

type Blow = (deployment: Deployment) => Promise<void>;

const killAll: Blow[] = [
  ...Array.from({ length: NODES }, (_, index) => async ({ nodes, startNode }: Deployment) => {
    await nodes[index]?.end("SIGKILL");
    await startNode(index);
  }),
  async ({ redis }) => {
    await redis.stop("SIGKILL");
    await redis.start();
  },
];

const PLANS: readonly (readonly [what: string, blows: readonly Blow[]])[] = [
  [
    `each of ${NODES} nodes is killed and Redis is killed, ${KILLS} times`,
    Array.from({ length: KILLS }, () => killAll).flat(),
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
  "loses nothing and sends no event or publication of QoS 2 twice while %s",
  {
    timeout: TIMEOUT_MS,
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
      const shown = new Map<string, number[]>(CAMERAS.map((camera) => [camera, []]));
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

    const sessions = new SessionCrowd(broker.port);
    cleanUps.push(() => sessions.stop());
    await sessions.subscribed();

    const url = `mqtt://127.0.0.1:${broker.port}`;
    const publishers = [
      new Publisher(url, "north", MESSAGES_PER_PUBLISHER),
      new Publisher(url, "south", MESSAGES_PER_PUBLISHER, { qos: 2 }),
      new Publisher(url, "east", MESSAGES_PER_PUBLISHER, { isOutside: true }),
      new Publisher(url, "west", MESSAGES_PER_PUBLISHER, { isOutside: true, qos: 2 }),
    ];
    cleanUps.push(() => {
      for (const publisher of publishers) publisher.stop();
    });
    const total = publishers.length * MESSAGES_PER_PUBLISHER;
    const acknowledged = () => publishers.reduce((sum, publisher) => sum + publisher.acknowledged.size, 0);
    for (const [index, blow] of blows.entries()) {
      const moment = ((index + Math.random()) / blows.length) * total * 0.95;
      await expect.poll(acknowledged, { interval: 2, timeout: WAIT_MS }).toBeGreaterThanOrEqual(moment);
      sessions.toggle();
      await blow({ nodes, redis, startNode });
    }
    await Promise.all(publishers.map((publisher) => publisher.done));
    sessions.comeAll();

    const all = Array.from({ length: MESSAGES_PER_PUBLISHER }, (_, n) => n + 1);
    await sessions.expectNoFaults(publishers);
    for (const camera of CAMERAS) {
      for (const { shown, gaps } of dashboards) {
        await expect.poll(() => shown.get(camera)?.length, { timeout: WAIT_MS }).toBe(all.length);
        expect(shown.get(camera)).toEqual(all);
        expect(gaps).toEqual([]);
      }
    }
  },
);

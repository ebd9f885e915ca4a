import { expect } from "vitest";
import { WebSocket } from "ws";
import { createClient, type ReportedGap } from "../../dashboard-client/index.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { WAIT_MS } from "../support/long-form.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { startRoundRobin } from "../support/round-robin.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";
import { Publisher } from "./publisher.ts";
import { SessionCrowd } from "./session-crowd.ts";

const CAMERAS = ["north", "south"];

type Balancer = Awaited<ReturnType<typeof startRoundRobin>>;

/** Several nodes on one Redis, behind a balancer for dashboards and one for MQTT clients. */
export interface Deployment {
  readonly nodes: readonly Skylapse[];
  readonly redis: RedisServer;
  readonly web: Balancer;
  readonly broker: Balancer;
  /** Starts a node in the place of one that has ended. @param dist of another build. Default: the build under test */
  startNode(index: number, dist?: string): Promise<void>;
}

/** What happens to a deployment under load. */
export type Step = (deployment: Deployment) => Promise<void>;

export interface DeploymentOptions {
  count: number;
  /** The build of all nodes at first. Default: the build under test. */
  dist?: string;
  /** For the end of the test: each is called once, the last one first. */
  cleanUps: (() => Promise<unknown> | unknown)[];
}

export async function startDeployment({ count, dist, cleanUps }: DeploymentOptions): Promise<Deployment> {
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
  const startNode = async (index: number, build?: string) => {
    const dataPath = makeDataPath();
    const node = await startSkylapse({ dataPath, env, ...(build === undefined ? {} : { dist: build }) });
    nodes[index] = node;
    cleanUps.push(async () => {
      await node.end("SIGKILL");
      removeDataPath(dataPath);
    });
    const portOf = (url: string) => Number(new URL(url).port);
    web.setTargets(nodes.map(({ http }) => portOf(http)));
    broker.setTargets(nodes.map((each) => portOf(each.mqtt)));
  };
  for (let index = 0; index < count; index++) await startNode(index, dist);
  return { nodes, redis, web, broker, startNode };
}

interface LoadOptions {
  dashboards: number;
  messagesPerPublisher: number;
  steps: readonly Step[];
  /**
   * Whether some nodes, but never all, are of the version before. Then dashboards may get events again after a gap `ahead`,
   * which that version reports when a dashboard resumes before its node has read the events that the dashboard has. A
   * publisher and sessions use MQTT 5 at the other nodes. No client shares subscriptions, which that version does not know.
   */
  isMixed?: boolean;
  cleanUps: DeploymentOptions["cleanUps"];
}

/**
 * Publishes numbered messages of QoS 1 and 2 while the steps happen, one after the other. Expects that dashboards and
 * persistent sessions get each message, in order, and none of QoS 2 and no event twice.
 */
export async function expectNothingLost(deployment: Deployment, options: LoadOptions): Promise<void> {
  const { web, broker } = deployment;
  const { messagesPerPublisher, steps, isMixed = false, cleanUps } = options;
  const dashboards = Array.from({ length: options.dashboards }, (_, index) => {
    const shown = new Map<string, number[]>(CAMERAS.map((camera) => [camera, []]));
    const gaps: ReportedGap[] = [];
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

  const sessions = new SessionCrowd(broker.port, { hasEarlierNodes: isMixed });
  cleanUps.push(() => sessions.stop());
  await sessions.subscribed();

  const url = `mqtt://127.0.0.1:${broker.port}`;
  const publishers = [
    new Publisher(url, "north", messagesPerPublisher),
    new Publisher(url, "south", messagesPerPublisher, { qos: 2, isFive: !isMixed }),
    new Publisher(url, "east", messagesPerPublisher, { isOutside: true, isFive: !isMixed }),
    new Publisher(url, "west", messagesPerPublisher, { isOutside: true, qos: 2 }),
    ...(isMixed ? [new Publisher(url, "five", messagesPerPublisher, { isFive: true })] : []),
  ];
  cleanUps.push(() => {
    for (const publisher of publishers) publisher.stop();
  });
  const total = publishers.length * messagesPerPublisher;
  const acknowledged = () => publishers.reduce((sum, publisher) => sum + publisher.acknowledged.size, 0);
  for (const [index, step] of steps.entries()) {
    const moment = ((index + Math.random()) / steps.length) * total * 0.95;
    await expect.poll(acknowledged, { interval: 2, timeout: WAIT_MS }).toBeGreaterThanOrEqual(moment);
    sessions.toggle();
    await step(deployment);
  }
  await Promise.all(publishers.map((publisher) => publisher.done));
  sessions.comeAll();

  const all = Array.from({ length: messagesPerPublisher }, (_, n) => n + 1);
  await sessions.expectNoFaults(publishers);
  for (const camera of CAMERAS) {
    for (const { shown, gaps } of dashboards) {
      await expect.poll(() => new Set(shown.get(camera)).size, { timeout: WAIT_MS }).toBe(all.length);
      const isRepeated = isMixed && gaps.some(({ reason }) => reason === "ahead");
      expect(isRepeated ? [...new Set(shown.get(camera))] : shown.get(camera)).toEqual(all);
      expect(isMixed ? gaps.filter(({ reason }) => reason !== "ahead") : gaps).toEqual([]);
    }
  }
}

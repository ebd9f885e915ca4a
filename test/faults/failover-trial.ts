import { expect } from "vitest";
import { WebSocket } from "ws";
import { z } from "zod";
import { createClient } from "../../dashboard-client/index.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { LONG, WAIT_MS } from "../support/long-form.ts";
import { journalled, type RedisDeployment, startDeployment } from "../support/redis-deployments.ts";
import { startRoundRobin } from "../support/round-robin.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";
import { Publisher } from "./publisher.ts";
import { SessionClient } from "./session-client.ts";

export const OPERATOR_KEY = "operator-key-of-the-tests";
const NODES = 2;
const MESSAGES = LONG ? 2_000 : 400;
/** Acknowledged while nothing is replicated. */
const UNREPLICATED = 50;
const FILTERS = ["skylapse/v1/cameras/+/events/#"];

export interface Failover {
  kind: "Sentinel" | "Cluster";
  signal: "SIGSTOP" | "SIGKILL";
  /** Options of Redis. */
  settings: readonly string[];
  /** `REDIS_WAIT_REPLICAS` of the nodes. Default 0. */
  waitReplicas?: number;
  /** Whether the master acknowledges some events that its replica never gets. */
  isCut: boolean;
}

/** What a receiver got, compared with the journal of the new master. */
export interface Received {
  name: string;
  missing: number;
  /** Of what was acknowledged before the failover. Other messages are published again, and may arrive twice if they are lost. */
  twice: number;
  outOfOrder: number;
}

export interface Outcome {
  acknowledged: number;
  /** Acknowledged, and not in the journal of the new master. */
  lost: number;
  /** How many lost events the nodes report. */
  told: number;
  receivers: readonly Received[];
  nodes: readonly Skylapse[];
  deployment: RedisDeployment;
  /** The gaps that each dashboard has shown so far. */
  gaps(): unknown[][];
}

export type CleanUp = (cleanUp: () => Promise<unknown> | unknown) => void;

/** Lets the master fail while two cameras publish, and compares what everybody has received in the end. */
export async function tryFailover(failover: Failover, onEnd: CleanUp): Promise<Outcome> {
  const { kind, signal, settings, waitReplicas = 0, isCut } = failover;
  const deployment = await startDeployment(kind, settings);
  onEnd(() => deployment.remove());
  const nodes = await startNodes({ REDIS_URL: deployment.url, REDIS_WAIT_REPLICAS: String(waitReplicas) }, onEnd);
  const broker = await startRoundRobin();
  onEnd(() => broker.stop());
  broker.setTargets(nodes.map(({ mqtt }) => Number(new URL(mqtt).port)));
  const client = (name: string, qos: 1 | 2) =>
    new SessionClient({ port: broker.port, name: `${name}-${qos}`, filters: FILTERS, qos });
  const always = [client("always", 1), client("always", 2)];
  const away = [client("away", 1), client("away", 2)];
  const sessions = [...always, ...away];
  onEnd(() => {
    for (const session of sessions) session.stop();
  });
  await Promise.all(sessions.map(({ subscribed }) => subscribed));
  const dashboards = nodes.map(({ socket }, index) => new Dashboard(socket, `dashboard-${index + 1}`));
  onEnd(() => Promise.all(dashboards.map((dashboard) => dashboard.close())));
  for (const dashboard of dashboards) await dashboard.live();

  const url = `mqtt://127.0.0.1:${broker.port}`;
  const publishers = [new Publisher(url, "north", MESSAGES), new Publisher(url, "south", MESSAGES, { qos: 2 })];
  onEnd(() => {
    for (const publisher of publishers) publisher.stop();
  });
  const acknowledged = () => publishers.reduce((sum, publisher) => sum + publisher.acknowledged.size, 0);
  const reached = (count: number) =>
    expect.poll(acknowledged, { interval: 2, timeout: WAIT_MS }).toBeGreaterThanOrEqual(count);

  await reached(MESSAGES * (0.2 + 0.2 * Math.random()));
  for (const session of away) session.leave("cut");
  await reached(acknowledged() + MESSAGES * 0.2);
  const master = deployment.master();
  if (isCut) {
    await deployment.cutReplica();
    await reached(acknowledged() + UNREPLICATED);
  }
  master.process.kill(signal);
  if (isCut) deployment.replica().process.kill("SIGCONT");
  await deployment.promoted();
  const before = new Set(
    publishers.flatMap(({ source, acknowledged: numbers }) => [...numbers].map((n) => `${source} ${n}`)),
  );
  const countOf = (twice: ReadonlySet<string>) => [...twice].filter((id) => before.has(id)).length;
  await deployment.bringBack();
  for (const session of away) session.come();
  await Promise.all(publishers.map(({ done }) => done));

  const kept = new Map<string, Set<number>>();
  for (const { source } of publishers) kept.set(source, await journalled(deployment.master(), source));
  const missing = (receiver: { missing(source: string, numbers: Iterable<number>): number[] }) =>
    [...kept].reduce((sum, [source, numbers]) => sum + receiver.missing(source, numbers).length, 0);
  const all = () => [...sessions, ...dashboards].map((receiver) => missing(receiver));
  const sum = () => all().reduce((total, count) => total + count, 0);
  await expect
    .poll(sum, { timeout: 15_000 })
    .toBe(0)
    .catch(() => {});
  const received = [
    ...sessions.map((session) => {
      const { outOfOrder } = session.faults(publishers);
      return { name: session.name, missing: missing(session), twice: countOf(session.twiceQos2), outOfOrder };
    }),
    ...dashboards.map(({ name, twice, outOfOrder }, index) => ({
      ...{ name, missing: all()[sessions.length + index] ?? 0, twice: countOf(twice), outOfOrder },
    })),
  ];
  return {
    acknowledged: acknowledged(),
    told: (await Promise.all(nodes.map(lostAt))).reduce((total, count) => total + count, 0),
    lost: publishers.reduce(
      (total, { source, acknowledged: numbers }) =>
        total + [...numbers].filter((n) => kept.get(source)?.has(n) !== true).length,
      0,
    ),
    ...{ receivers: received, nodes, deployment, gaps: () => dashboards.map(({ gaps }) => gaps) },
  };
}

const statsSchema = z.object({ node: z.object({ journal: z.object({ lost: z.number() }) }) });

async function lostAt({ http }: Skylapse): Promise<number> {
  const answer = await fetch(`${http}/stats`, { headers: { authorization: `Bearer ${OPERATOR_KEY}` } });
  return statsSchema.parse(await answer.json()).node.journal.lost;
}

async function startNodes(redis: Record<string, string>, onEnd: CleanUp): Promise<Skylapse[]> {
  const nodes: Skylapse[] = [];
  for (let index = 0; index < NODES; index++) {
    const dataPath = makeDataPath();
    const env = {
      ...{ JWT_SECRET, OPERATOR_KEY, LOG_LEVEL: "info", ...redis },
      ...{ RETENTION_EVENTS: "200000", MAX_OFFLINE_MESSAGES: "0", MAX_OFFLINE_BYTES: "0" },
    };
    const node = await startSkylapse({ dataPath, env });
    nodes.push(node);
    onEnd(async () => {
      await node.end("SIGKILL");
      removeDataPath(dataPath);
    });
  }
  return nodes;
}

class Dashboard {
  readonly name: string;
  readonly gaps: unknown[] = [];
  /** By camera and number. */
  readonly twice = new Set<string>();
  outOfOrder = 0;
  readonly #shown = new Map<string, Set<number>>();
  readonly #newest = new Map<string, number>();
  readonly #client: ReturnType<typeof createClient>;
  readonly #subscription: ReturnType<ReturnType<typeof createClient>["subscribe"]>;

  constructor(url: string, name: string) {
    this.name = name;
    this.#client = createClient({
      ...{ url, WebSocket, backoff: { minDelayMs: 20, maxDelayMs: 300 } },
      getToken: async () => signToken(name, ["dashboard:read"]),
    });
    this.#subscription = this.#client.subscribe("dashboard", {
      onEvent: ({ event, camera = "", data }) => {
        if (event === "capture.completed") this.#show(camera, (data as { n: number }).n);
      },
      onGap: (gap) => this.gaps.push(gap),
    });
    this.#client.connect();
  }

  async live(): Promise<void> {
    await expect.poll(() => this.#subscription.state.status).toBe("live");
  }

  missing(source: string, numbers: Iterable<number>): number[] {
    return [...numbers].filter((n) => this.#shown.get(source)?.has(n) !== true);
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  #show(camera: string, n: number): void {
    const shown = this.#shown.get(camera) ?? new Set();
    this.#shown.set(camera, shown);
    if (shown.has(n)) this.twice.add(`${camera} ${n}`);
    else if (n < (this.#newest.get(camera) ?? 0)) this.outOfOrder++;
    shown.add(n);
    this.#newest.set(camera, Math.max(n, this.#newest.get(camera) ?? 0));
  }
}

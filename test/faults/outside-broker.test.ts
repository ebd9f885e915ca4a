import { connect, type MqttClient } from "mqtt";
import { afterEach, expect, it } from "vitest";
import { WebSocket } from "ws";
import { createClient } from "../../dashboard-client/index.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { LONG, TIMEOUT_MS, WAIT_MS } from "../support/long-form.ts";
import { type Mosquitto, startMosquitto } from "../support/mosquitto.ts";
import { freePort } from "../support/ports.ts";
import { startRedis } from "../support/redis.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

// The short form. `npm run test:long` does all kills and restarts.
const EVENTS_PER_CAMERA = LONG ? 5_000 : 500;
const KILLS = LONG ? 10 : 1;
const RESTARTS = LONG ? 3 : 1;
const CAMERAS = ["north", "south", "east", "west"];
const TOTAL = EVENTS_PER_CAMERA * CAMERAS.length;
const MAX_IN_FLIGHT = 50;

const cleanUps: (() => Promise<unknown> | unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** A camera that publishes each numbered event until the broker has acknowledged it, in order. */
class NumberingCamera {
  readonly #url: string;
  readonly #camera: string;
  /** Everything up to this number is acknowledged. */
  acknowledged = 0;
  #client: MqttClient | undefined;
  #isStopped = false;

  constructor(url: string, camera: string) {
    this.#url = url;
    this.#camera = camera;
    this.#connect();
  }

  stop(): void {
    this.#isStopped = true;
    this.#client?.end(true);
  }

  #connect(): void {
    const client = connect(this.#url, { clientId: `camera-${this.#camera}`, reconnectPeriod: 0 });
    this.#client = client;
    let next = this.acknowledged + 1;
    let inFlight = 0;
    const publish = () => {
      for (; inFlight < MAX_IN_FLIGHT && next <= EVENTS_PER_CAMERA && client.connected; inFlight++) {
        const n = next++;
        client.publish(this.#topic(), this.#payload(n), { qos: 1 }, (error) => {
          if (error != null || client !== this.#client) return;
          this.acknowledged = n;
          inFlight--;
          publish();
        });
      }
    };
    client.on("connect", publish);
    client.on("error", () => {});
    client.on("close", () => {
      if (client !== this.#client || this.#isStopped) return;
      setTimeout(() => this.#connect(), 50);
    });
  }

  #topic(): string {
    return `skylapse/v1/cameras/${this.#camera}/events/capture.completed`;
  }

  #payload(n: number): string {
    const envelope = { v: 1, id: `${this.#camera}-${n}`, timestamp: new Date().toISOString(), session: "boot", seq: n };
    return JSON.stringify({ ...envelope, event: "capture.completed", data: { n } });
  }
}

interface Shown {
  /** The numbers of the shown events, by camera. */
  numbers: ReadonlyMap<string, readonly number[]>;
  gaps: unknown[];
  count(): number;
}

/** A dashboard with the client library: it reconnects and resumes by itself. Resolves when it is live. */
async function showEvents(url: string): Promise<Shown> {
  const numbers = new Map<string, number[]>(CAMERAS.map((camera) => [camera, []]));
  const gaps: unknown[] = [];
  let live = false;
  const client = createClient({
    ...{ url, WebSocket, backoff: { minDelayMs: 20, maxDelayMs: 200 } },
    getToken: async () => signToken("alice", ["dashboard:read"]),
  });
  cleanUps.push(() => client.close());
  client.subscribe("dashboard", {
    onState: ({ status }) => {
      live = status === "live";
    },
    onEvent: ({ event, camera, data }) => {
      if (event === "capture.completed") numbers.get(camera ?? "")?.push((data as { n: number }).n);
    },
    onGap: (gap) => gaps.push(gap),
  });
  client.connect();
  await expect.poll(() => live).toBe(true);
  return { numbers, gaps, count: () => [...numbers.values()].reduce((sum, { length }) => sum + length, 0) };
}

function startCameras(url: string) {
  const cameras = CAMERAS.map((camera) => new NumberingCamera(url, camera));
  cleanUps.push(() => {
    for (const camera of cameras) camera.stop();
  });
  const acknowledged = () => cameras.reduce((sum, camera) => sum + camera.acknowledged, 0);
  const reach = (share: number) =>
    expect.poll(acknowledged, { interval: 2, timeout: WAIT_MS }).toBeGreaterThanOrEqual(share * TOTAL * 0.95);
  return { acknowledged, reach };
}

async function expectAll({ numbers, gaps }: Shown): Promise<void> {
  const all = Array.from({ length: EVENTS_PER_CAMERA }, (_, index) => index + 1);
  for (const camera of CAMERAS) {
    await expect.poll(() => numbers.get(camera)?.length, { timeout: WAIT_MS }).toBe(all.length);
    expect(numbers.get(camera)).toEqual(all);
  }
  expect(gaps).toEqual([]);
}

async function startBroker(): Promise<Mosquitto> {
  const mosquitto = await startMosquitto({ isPersistent: true });
  cleanUps.push(() => mosquitto.remove());
  return mosquitto;
}

/** Starts a server, and waits until its session at the broker exists. */
async function startServer(env: Record<string, string>, dataPath: string): Promise<Skylapse> {
  const skylapse = await startSkylapse({ dataPath, env: { JWT_SECRET, ...env, LOG_LEVEL: "warn" } });
  await expect.poll(async () => (await fetch(`${skylapse.http}/readyz`)).status, { timeout: WAIT_MS }).toBe(200);
  return skylapse;
}

function newDataPath(): string {
  const dataPath = makeDataPath();
  cleanUps.push(() => removeDataPath(dataPath));
  return dataPath;
}

/** Ends the broker so that it saves its store, and starts it again. */
async function restart(mosquitto: Mosquitto): Promise<void> {
  await mosquitto.stop();
  await mosquitto.start();
}

it(`all events that another broker keeps reach a dashboard once and in order, despite ${KILLS} kills of the server and ${RESTARTS} restarts of that broker`, {
  timeout: TIMEOUT_MS,
}, async () => {
  const mosquitto = await startBroker();
  const dataPath = newDataPath();
  const env = { MQTT_URL: mosquitto.url, WS_PORT: String(await freePort()), RETENTION_EVENTS: "200000" };
  let skylapse = await startServer(env, dataPath);
  cleanUps.push(() => skylapse.end("SIGKILL"));
  const shown = await showEvents(skylapse.socket);
  const { acknowledged, reach } = startCameras(mosquitto.url);
  for (let kill = 0; kill < KILLS; kill++) {
    await reach((kill + 0.2 + Math.random() * 0.3) / KILLS);
    await skylapse.end("SIGKILL");
    if (kill < RESTARTS && kill % 2 === 0) await restart(mosquitto);
    await reach((kill + 0.5 + Math.random() * 0.3) / KILLS);
    skylapse = await startServer(env, dataPath);
    if (kill < RESTARTS && kill % 2 === 1) await restart(mosquitto);
  }
  await expect.poll(acknowledged, { timeout: WAIT_MS }).toBe(TOTAL);
  await expectAll(shown);
});

// Each takeover lasts ten seconds: the lease of a killed node has to expire.
it.each(LONG ? [5] : [])(
  "all events reach a dashboard once and in order, although the receiving one of two nodes is killed %i times",
  { timeout: TIMEOUT_MS },
  async (kills) => {
    const mosquitto = await startBroker();
    const redis = await startRedis();
    cleanUps.push(() => redis.remove());
    const shared = { MQTT_URL: mosquitto.url, REDIS_URL: redis.url, OPERATOR_KEY: "the-key-of-all-nodes-of-this-test" };
    const nodes: { dataPath: string; env: Record<string, string>; server: Skylapse }[] = [];
    for (const dataPath of [newDataPath(), newDataPath()]) {
      const env = { ...shared, WS_PORT: String(await freePort()), RETENTION_EVENTS: "200000" };
      nodes.push({ dataPath, env, server: await startServer(env, dataPath) });
    }
    cleanUps.push(() => Promise.all(nodes.map(({ server }) => server.end("SIGKILL"))));
    const shown = await Promise.all(nodes.map(({ server }) => showEvents(server.socket)));
    const { acknowledged, reach } = startCameras(mosquitto.url);
    for (let kill = 0; kill < kills; kill++) {
      await reach((kill + 0.3 + Math.random() * 0.3) / kills);
      const receiving = (await Promise.all(nodes.map(({ server }) => receives(server)))).indexOf(true);
      const node = nodes[receiving] ?? expect.fail("no node receives");
      await node.server.end("SIGKILL");
      const before = acknowledged();
      const other = shown[1 - receiving];
      await expect.poll(() => other?.count(), { timeout: WAIT_MS }).toBeGreaterThanOrEqual(before);
      node.server = await startServer(node.env, node.dataPath);
    }
    await expect.poll(acknowledged, { timeout: WAIT_MS }).toBe(TOTAL);
    for (const dashboard of shown) await expectAll(dashboard);
  },
);

async function receives({ http }: Skylapse): Promise<boolean> {
  const headers = { authorization: `Bearer ${signToken("root", ["admin"])}` };
  const { node } = await (await fetch(`${http}/stats`, { headers })).json();
  return node.outside_broker.receives;
}

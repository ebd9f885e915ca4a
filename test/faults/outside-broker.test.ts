import { connect, type MqttClient } from "mqtt";
import { afterEach, expect, it } from "vitest";
import { WebSocket } from "ws";
import { createClient } from "../../dashboard-client/index.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { LONG, TIMEOUT_MS, WAIT_MS } from "../support/long-form.ts";
import { type Mosquitto, startMosquitto } from "../support/mosquitto.ts";
import { freePort } from "../support/ports.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

// The short form. `npm run test:long` does all kills and restarts.
const EVENTS_PER_CAMERA = LONG ? 5_000 : 500;
const KILLS = LONG ? 10 : 1;
const RESTARTS = LONG ? 3 : 1;
const CAMERAS = ["north", "south", "east", "west"];
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

it(`all events that another broker keeps reach a dashboard once and in order, despite ${KILLS} kills of the server and ${RESTARTS} restarts of that broker`, {
  timeout: TIMEOUT_MS,
}, async () => {
  const dataPath = makeDataPath();
  cleanUps.push(() => removeDataPath(dataPath));
  const mosquitto: Mosquitto = await startMosquitto({ isPersistent: true });
  cleanUps.push(() => mosquitto.remove());
  const env = {
    ...{ JWT_SECRET, MQTT_URL: mosquitto.url, WS_PORT: String(await freePort()) },
    ...{ LOG_LEVEL: "warn", RETENTION_EVENTS: "200000" },
  };
  let skylapse: Skylapse = await startSkylapse({ dataPath, env });
  cleanUps.push(() => skylapse.end("SIGKILL"));
  // The session must exist before the first event.
  await expect.poll(async () => (await fetch(`${skylapse.http}/readyz`)).status).toBe(200);

  const shown = new Map<string, number[]>(CAMERAS.map((camera) => [camera, []]));
  const gaps: unknown[] = [];
  let live = false;
  const client = createClient({
    url: skylapse.socket,
    getToken: async () => signToken("alice", ["dashboard:read"]),
    WebSocket,
    backoff: { minDelayMs: 20, maxDelayMs: 200 },
  });
  cleanUps.push(() => client.close());
  client.subscribe("dashboard", {
    onState: ({ status }) => {
      live = status === "live";
    },
    onEvent: ({ event, camera, data }) => {
      if (event === "capture.completed") shown.get(camera ?? "")?.push((data as { n: number }).n);
    },
    onGap: (gap) => gaps.push(gap),
  });
  client.connect();
  await expect.poll(() => live).toBe(true);

  const cameras = CAMERAS.map((camera) => new NumberingCamera(mosquitto.url, camera));
  cleanUps.push(() => {
    for (const camera of cameras) camera.stop();
  });
  const total = EVENTS_PER_CAMERA * CAMERAS.length;
  const acknowledged = () => cameras.reduce((sum, camera) => sum + camera.acknowledged, 0);
  const reach = (share: number) =>
    expect.poll(acknowledged, { interval: 2, timeout: WAIT_MS }).toBeGreaterThanOrEqual(share * total * 0.95);
  for (let kill = 0; kill < KILLS; kill++) {
    await reach((kill + 0.2 + Math.random() * 0.3) / KILLS);
    await skylapse.end("SIGKILL");
    // The broker restarts while the server is down, and while it runs.
    if (kill < RESTARTS) {
      await mosquitto.stop();
      await mosquitto.start();
    }
    await reach((kill + 0.5 + Math.random() * 0.3) / KILLS);
    skylapse = await startSkylapse({ dataPath, env });
  }
  await expect.poll(acknowledged, { timeout: WAIT_MS }).toBe(total);
  const all = Array.from({ length: EVENTS_PER_CAMERA }, (_, index) => index + 1);
  for (const camera of CAMERAS) {
    await expect.poll(() => shown.get(camera)?.length, { timeout: WAIT_MS }).toBe(all.length);
    expect(shown.get(camera)).toEqual(all);
  }
  expect(gaps).toEqual([]);
});

import mqtt from "mqtt";
import { afterEach, expect, it } from "vitest";
import { WebSocket } from "ws";
import { createClient } from "../../dashboard-client/index.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { freePort } from "../support/ports.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";
import { Publisher } from "./publisher.ts";

/** The short form. `npm run test:long` does all kills. */
const LONG = process.env.LONG_TESTS !== undefined;
const KILLS = LONG ? 20 : 3;
const EVENTS_PER_PUBLISHER = LONG ? 50_000 / 3 : 1500;
const PUBLISHERS = ["north", "south", "west"];

const cleanUps: (() => Promise<unknown> | unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

it(`loses no acknowledged event and shows no event twice, despite ${KILLS} kills while ${PUBLISHERS.length} cameras publish`, {
  timeout: 600_000,
}, async () => {
  const dataPath = makeDataPath();
  cleanUps.push(() => removeDataPath(dataPath));
  const env = {
    JWT_SECRET,
    WS_PORT: String(await freePort()),
    MQTT_PORT: String(await freePort()),
    LOG_LEVEL: "warn",
    RETENTION_EVENTS: "200000",
    MAX_OFFLINE_MESSAGES: "0",
    MAX_OFFLINE_BYTES: "0",
  };
  let skylapse: Skylapse = await startSkylapse({ dataPath, env });
  cleanUps.push(() => skylapse.end("SIGKILL"));

  // A dashboard with the client library: it reconnects and resumes by itself.
  const shown = new Map<string, number[]>(PUBLISHERS.map((camera) => [camera, []]));
  const gaps: unknown[] = [];
  const client = createClient({
    url: skylapse.socket,
    getToken: async () => signToken("alice", ["dashboard:read"]),
    WebSocket,
    backoff: { minDelayMs: 20, maxDelayMs: 200 },
  });
  cleanUps.push(() => client.close());
  let live = false;
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
  // Waits for the subscription, because the dashboard gets no event from before the subscription.
  await expect.poll(() => live).toBe(true);

  // An MQTT subscriber with a persistent session.
  const received = new Map<string, Set<number>>(PUBLISHERS.map((camera) => [camera, new Set()]));
  const subscriber = mqtt.connect(skylapse.mqtt, {
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

  const publishers = PUBLISHERS.map((camera) => new Publisher(skylapse.mqtt, camera, EVENTS_PER_PUBLISHER));
  cleanUps.push(() => {
    for (const publisher of publishers) publisher.stop();
  });
  const total = publishers.length * Math.floor(EVENTS_PER_PUBLISHER);
  const acknowledged = () => publishers.reduce((sum, publisher) => sum + publisher.acknowledged.size, 0);
  for (let kill = 1; kill <= KILLS; kill++) {
    // Kills after a random number of events, not after a random time, so that the speed of the machine has no effect.
    const moment = ((kill - 1 + Math.random()) / KILLS) * total * 0.95;
    await expect.poll(acknowledged, { interval: 2 }).toBeGreaterThanOrEqual(moment);
    await skylapse.end("SIGKILL");
    skylapse = await startSkylapse({ dataPath, env });
  }
  await Promise.all(publishers.map((publisher) => publisher.done));

  for (const [index, camera] of PUBLISHERS.entries()) {
    const all = Array.from({ length: Math.floor(EVENTS_PER_PUBLISHER) }, (_, n) => n + 1);
    expect(publishers[index]?.acknowledged.size).toBe(all.length);
    await expect.poll(() => shown.get(camera)?.length).toBe(all.length);
    expect(shown.get(camera)).toEqual(all);
    await expect.poll(() => received.get(camera)?.size).toBe(all.length);
  }
  expect(gaps).toEqual([]);
});

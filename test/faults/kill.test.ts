import { afterEach, expect, it } from "vitest";
import { WebSocket } from "ws";
import { createClient } from "../../dashboard-client/index.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { LONG, TIMEOUT_MS, WAIT_MS } from "../support/long-form.ts";
import { freePort } from "../support/ports.ts";
import { startRedis } from "../support/redis.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";
import { Publisher } from "./publisher.ts";
import { SessionCrowd } from "./session-crowd.ts";

// The short form. `npm run test:long` does all kills, on both stores.
const KILLS = LONG ? 20 : 3;
const STORES = LONG ? (["LevelDB", "Redis"] as const) : (["LevelDB"] as const);
const MESSAGES_PER_PUBLISHER = LONG ? 12_500 : 800;
const CAMERAS = ["north", "south"];
const PUBLISHERS = 4;
const TOTAL = PUBLISHERS * MESSAGES_PER_PUBLISHER;

const cleanUps: (() => Promise<unknown> | unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

it.each(STORES)(
  `loses nothing and sends no event or publication of QoS 2 twice, despite ${KILLS} kills while clients of MQTT 3.1.1 and 5 publish, on %s`,
  { timeout: TIMEOUT_MS },
  async (store) => {
    const dataPath = makeDataPath();
    cleanUps.push(() => removeDataPath(dataPath));
    const env: Record<string, string> = {
      JWT_SECRET,
      WS_PORT: String(await freePort()),
      MQTT_PORT: String(await freePort()),
      LOG_LEVEL: "warn",
      RETENTION_EVENTS: "200000",
      MAX_OFFLINE_MESSAGES: "0",
      MAX_OFFLINE_BYTES: "0",
    };
    if (store === "Redis") {
      const redis = await startRedis();
      cleanUps.push(() => redis.remove());
      env.REDIS_URL = redis.url;
    }
    let skylapse: Skylapse = await startSkylapse({ dataPath, env });
    cleanUps.push(() => skylapse.end("SIGKILL"));

    // A dashboard with the client library: it reconnects and resumes by itself.
    const shown = new Map<string, number[]>(CAMERAS.map((camera) => [camera, []]));
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

    const sessions = new SessionCrowd(Number(new URL(skylapse.mqtt).port));
    cleanUps.push(() => sessions.stop());
    await sessions.subscribed();

    const publishers = [
      new Publisher(skylapse.mqtt, "north", MESSAGES_PER_PUBLISHER),
      new Publisher(skylapse.mqtt, "south", MESSAGES_PER_PUBLISHER, { qos: 2, isFive: true }),
      new Publisher(skylapse.mqtt, "east", MESSAGES_PER_PUBLISHER, { isOutside: true, isFive: true }),
      new Publisher(skylapse.mqtt, "west", MESSAGES_PER_PUBLISHER, { isOutside: true, qos: 2 }),
    ];
    cleanUps.push(() => {
      for (const publisher of publishers) publisher.stop();
    });
    const acknowledged = () => publishers.reduce((sum, publisher) => sum + publisher.acknowledged.size, 0);
    // After a random number of messages, not after a random time, so that the speed of the machine has no effect.
    const reach = async (share: number) =>
      expect.poll(acknowledged, { interval: 2, timeout: WAIT_MS }).toBeGreaterThanOrEqual(share * TOTAL * 0.95);
    for (let kill = 0; kill < KILLS; kill++) {
      // The sessions that flap do so before a kill and, later, after it.
      await reach((kill + Math.random() * 0.3) / KILLS);
      if (kill % 2 === 0) sessions.toggle();
      await reach((kill + 0.3 + Math.random() * 0.4) / KILLS);
      await skylapse.end("SIGKILL");
      skylapse = await startSkylapse({ dataPath, env });
      await reach((kill + 0.7 + Math.random() * 0.3) / KILLS);
      if (kill % 2 === 1) sessions.toggle();
    }
    await Promise.all(publishers.map((publisher) => publisher.done));
    sessions.comeAll();

    const all = Array.from({ length: MESSAGES_PER_PUBLISHER }, (_, n) => n + 1);
    for (const { acknowledged: accepted } of publishers) expect(accepted.size).toBe(all.length);
    await sessions.expectNoFaults(publishers);
    for (const camera of CAMERAS) {
      await expect.poll(() => shown.get(camera)?.length, { timeout: WAIT_MS }).toBe(all.length);
      expect(shown.get(camera)).toEqual(all);
    }
    expect(gaps).toEqual([]);
  },
);

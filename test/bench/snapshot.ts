import { once } from "node:events";
import mqtt from "mqtt";
import { WebSocket } from "ws";
import type { ServerMessage } from "../../contract/socket-messages.ts";
import { topicTree } from "../../contract/topics.ts";
import { type BenchOptions, onServer, type Row, type Sample } from "./row.ts";
import { withRedis } from "./servers/redis.ts";
import type { EventServer, MqttServer } from "./servers/server.ts";
import { startSkylapse } from "./servers/skylapse.ts";

const CAMERAS = 10_000;

export const snapshot: Row = {
  name: "snapshot",
  title: `a dashboard subscribes where ${CAMERAS.toLocaleString("en")} cameras have retained state`,
  method: () => "One retained message of each camera. The clock runs from the subscribe; each camera must come once.",
  figures: [
    { key: "firstMs", label: "until the first frame of the snapshot", unit: "ms", target: { atMost: 200 } },
    { key: "allMs", label: "until all of it", unit: "ms" },
  ],
  sides: (options) => [
    { name: "Redis", measure: () => withRedis((redis) => measure(options, { REDIS_URL: redis.url })) },
    { name: "LevelDB", measure: () => measure(options, {}) },
  ],
};

function measure(options: BenchOptions, env: Record<string, string>): Promise<Sample> {
  return onServer(
    () => startSkylapse({ ...options, env }),
    async (server) => {
      await publishStates(server);
      return await subscribe(server);
    },
  );
}

async function publishStates(server: MqttServer): Promise<void> {
  const tree = topicTree();
  const { username = "", password = "" } = server.login("cameras");
  const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${server.mqttPort}`, { username, password });
  const data = { total_bytes: 64e9, free_bytes: 48e9 };
  await Promise.all(
    Array.from({ length: CAMERAS }, (_, index) => {
      const topic = tree.build({ kind: "camera-state", camera: `camera-${index}`, name: "storage" });
      return client.publishAsync(topic, JSON.stringify(data), { qos: 1, retain: true });
    }),
  );
  await client.endAsync();
}

async function subscribe(server: EventServer): Promise<Sample> {
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}/ws`);
  await once(socket, "open");
  socket.send(JSON.stringify({ type: "auth", token: server.tokens(1)[0] }));
  await once(socket, "message");
  // Parsed after the measurement, which would otherwise include the parsing of ten thousand messages.
  const frames: { text: string; at: number }[] = [];
  const caughtUp = new Promise<void>((resolve) =>
    socket.on("message", (data) => {
      const text = String(data);
      frames.push({ text, at: performance.now() });
      if (text.startsWith('{"type":"caught_up"')) resolve();
    }),
  );
  const begin = performance.now();
  socket.send(JSON.stringify({ type: "subscribe", channel: "dashboard" }));
  await caughtUp;
  socket.terminate();
  const messages = frames.map(({ text, at }) => ({ message: JSON.parse(text) as ServerMessage, at }));
  const cameras = new Set<string>();
  let firstMs = Number.NaN;
  for (const { message, at } of messages) {
    if (message.type !== "dashboard_event" || message.snapshot !== true) continue;
    if (Number.isNaN(firstMs)) firstMs = at - begin;
    if (message.topic?.endsWith("/storage") && message.camera !== undefined) cameras.add(message.camera);
  }
  if (cameras.size !== CAMERAS) throw new Error(`${cameras.size} of ${CAMERAS} cameras are in the snapshot`);
  return { firstMs, allMs: (frames.at(-1)?.at ?? Number.NaN) - begin };
}

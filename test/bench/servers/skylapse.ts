import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { topicTree } from "../../../contract/topics.ts";
import { EVENT_NAME } from "../load/event.ts";
import { temporaryFolder } from "./leftovers.ts";
import { type EventServer, healthConnections, type MqttServer, startNodeServer } from "./server.ts";
import { JWT_SECRET, signToken, viewerTokens } from "./tokens.ts";

/** The topic of the benchmark's events. Each publisher is a separate camera. */
export function benchTopic(camera = "bench"): string {
  return topicTree().build({ kind: "camera-event", camera, event: EVENT_NAME });
}

/** The folder of the build to measure. Default: `dist`. */
export const DIST = process.env.SERVER_DIST ?? fileURLToPath(new URL("../../..", import.meta.url));

export interface SkylapseOptions {
  env?: Record<string, string>;
  profileTo?: string | undefined;
}

/**
 * The whole program as `npm start` runs it, without simulated cameras and without limits per address and user, because
 * all load comes from one machine.
 */
export async function startSkylapse({ env = {}, profileTo }: SkylapseOptions = {}): Promise<EventServer & MqttServer> {
  const folder = temporaryFolder();
  const server = await startNodeServer({
    program: pathToFileURL(join(DIST, "deploy/start.js")),
    env: {
      DATA_PATH: folder.path,
      WS_PORT: "0",
      MQTT_PORT: "0",
      MQTT_WS_PORT: "0",
      SIMULATOR: "0",
      LOG_LEVEL: "warn",
      JWT_SECRET,
      OPERATOR_KEY: "operator-key-of-the-benchmarks",
      MAX_CONNECTIONS: "0",
      MAX_CONNECTIONS_PER_USER: "0",
      MAX_CONNECTIONS_PER_ADDRESS: "0",
      MAX_MQTT_CONNECTIONS_PER_ADDRESS: "0",
      MAX_CONNECTS_PER_MINUTE: "0",
      MAX_MQTT_CONNECTS_PER_MINUTE: "0",
      MAX_MQTT_MESSAGES_PER_SECOND: "0",
      MAX_MQTT_BYTES_PER_SECOND: "0",
      MAX_MQTT_PENDING_BYTES: "0",
      MAX_REQUESTS_PER_MINUTE: "0",
      MAX_REQUESTS_PER_SECOND: "0",
      ...env,
    },
    ready: /"msg":"ready"/,
    profileTo,
  });
  const port = portOf(server.output, /"WebSocket":"ws:\/\/\S+?:(\d+)/);
  const mqttPort = portOf(server.output, /"MQTT":"mqtt:\/\/\S+?:(\d+)/);
  const login = (clientId: string) => ({
    clientId,
    username: clientId,
    password: signToken(clientId, ["admin"]),
  });
  return {
    name: "Skylapse",
    dialect: "skylapse",
    port,
    mqttPort,
    cpuSeconds: server.cpuSeconds,
    memory: server.memory,
    connections: () => healthConnections(port),
    tokens: viewerTokens,
    login,
    feed: (payloadBytes) => ({
      kind: "mqtt",
      port: mqttPort,
      topic: benchTopic(),
      qos: 1,
      payloadBytes,
      ...login("feed"),
    }),
    stop: async () => {
      await server.stop();
      folder.remove();
    },
  };
}

function portOf(output: string, line: RegExp): number {
  const port = line.exec(output)?.[1];
  if (port === undefined) throw new Error(`no line like ${line} in:\n${output}`);
  return Number(port);
}

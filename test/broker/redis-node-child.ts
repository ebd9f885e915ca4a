import pino from "pino";
import { startBroker } from "../../broker/broker.ts";
import { readBrokerConfig } from "../../broker/config.ts";
import { topicTree } from "../../contract/topics.ts";
import { openRedis } from "../../deploy/redis/redis.ts";
import { openDevicesOf } from "../support/devices.ts";

export interface ChildOptions {
  url: string;
  name: string;
  env: Record<string, string>;
  dataPath: string;
}

/** The first report has the MQTT port. Each further report has the number of a publication that was forwarded. */
export type ChildReport = { port: number } | { emitted: number };

const { url, name, env, dataPath }: ChildOptions = JSON.parse(process.argv.at(-1) ?? "");
const logger = pino({ level: "silent" });
const report = (sent: ChildReport) => process.send?.(sent);
let position = 0;

// The secret of `north` has the same creation time at all nodes of these tests.
const { devices } = await openDevicesOf(dataPath, () => 1);
await devices.set({ id: "north", kind: "camera", secret: "a-secret-of-at-least-thirty-two-characters" });
const broker = await startBroker({
  config: readBrokerConfig({
    env: { DATA_PATH: dataPath, MQTT_PORT: "0", MQTT_WS_PORT: "0", ...env },
    readFile: () => "",
  }),
  tree: topicTree("skylapse/v1"),
  channels: new Map(),
  verifyToken: () => ({
    userId: "alice",
    permissions: ["admin"],
    issuedAt: Date.now(),
    expiresAt: Date.now() + 60_000,
    tokenId: undefined,
  }),
  devices,
  ingest: {
    accept: async () => ({ position: ++position, forward: true }),
    delivered: (emitted) => report({ emitted }),
  },
  redis: openRedis({ url, prefix: name, logger }),
  logger,
});
process.once("disconnect", () => process.exit());
await broker.listen();
report({ port: broker.ports.mqtt ?? 0 });

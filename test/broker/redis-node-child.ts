import pino from "pino";
import { startBroker } from "../../broker/broker.ts";
import { readBrokerConfig } from "../../broker/config.ts";
import { topicTree } from "../../contract/topics.ts";
import { openRedis } from "../../platform/redis/connections.ts";
import { openDevicesOf } from "../support/devices.ts";
import { type NodeWaits, openJournalNode } from "../support/redis-journal.ts";

export interface ChildOptions {
  url: string;
  name: string;
  env: Record<string, string>;
  waits: NodeWaits;
  dataPath: string;
}

export interface ChildReport {
  /** The MQTT port. */
  port: number;
}

const { url, name, env, waits = {}, dataPath }: ChildOptions = JSON.parse(process.argv.at(-1) ?? "");
const logger = pino({ level: "silent" });
const redis = openRedis({ url, prefix: name, logger });
const retention = { retentionEvents: 10_000, retentionHours: 24 };
const { mqtt } = await openJournalNode({ redis, logger, waits, ...retention });

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
    async accept({ identity: _, ...publication }) {
      const position = publication.qos > 0 ? await mqtt.append(publication) : undefined;
      return { position, forward: true };
    },
  },
  redis,
  mqttLog: mqtt,
  logger,
});
process.once("disconnect", () => process.exit());
await broker.listen();
const report: ChildReport = { port: broker.ports.mqtt ?? 0 };
process.send?.(report);

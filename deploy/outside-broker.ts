import type { Logger } from "pino";
import type { OutsideBrokerConfig } from "../bridge/broker-link/outside/config.ts";
import { inwardTopics } from "../bridge/broker-link/outside/inward-topics.ts";
import { OutsideBroker } from "../bridge/broker-link/outside/outside-broker.ts";
import { RetainedLimits } from "../bridge/broker-link/outside/retained-limits.ts";
import { CameraLinks } from "../bridge/cameras/camera-links.ts";
import type { BridgeIngest } from "../bridge/ingest.ts";
import type { BrokerConfig } from "../broker/config.ts";
import { BROKER_EVENTS, type TopicTree } from "../contract/topics.ts";
import { LimitedLog } from "../platform/limited-log.ts";
import type { MqttSide } from "./mqtt-side.ts";
import type { Stores } from "./stores/stores.ts";

interface OutsideBrokerOptions {
  config: OutsideBrokerConfig;
  /** The settings that the embedded broker would have. */
  broker: Pick<
    BrokerConfig,
    "sessionHours" | "maxOfflineLogBytes" | "maxRetainedPerDevice" | "maxRetainedBytesPerDevice"
  >;
  maxPayloadBytes: number;
  stores: Pick<Stores, "cluster" | "journal">;
  tree: TopicTree;
  ingest: Pick<BridgeIngest, "acceptFromOutside" | "isCurrentState" | "publish">;
  logger: Logger;
}

/** Uses the broker of `MQTT_URL`. Connects at `listen`, and does not wait for the broker. */
export function joinOutsideBroker(options: OutsideBrokerOptions): MqttSide {
  const { config, broker, maxPayloadBytes, stores, tree, ingest } = options;
  const { cluster, journal } = stores;
  const logger = options.logger.child({ part: "outside-broker" });
  const limitedLog = new LimitedLog();
  const retained = new RetainedLimits({
    ...{ journal, tree, maxMessages: broker.maxRetainedPerDevice, maxChars: broker.maxRetainedBytesPerDevice },
    onExceeded: ({ identity, topic }, reason) =>
      limitedLog.note(identity, (times) => logger.warn({ identity, topic, reason, times }, "message not retained")),
  });
  const outside = new OutsideBroker({
    ...{ config, cluster, mqttLog: journal.mqtt, topics: inwardTopics(tree, config.version), logger },
    ...{ sessionHours: broker.sessionHours, maxLogBytes: broker.maxOfflineLogBytes, maxPayloadBytes },
    accept: (publication, fence) => ingest.acceptFromOutside(retained.apply(publication), fence),
    isCurrentState: (publication) => ingest.isCurrentState(publication),
    onSessionLost: (since) => void reportLoss(since, ingest, logger),
  });
  const links = new CameraLinks({
    ...{ journal, tree, isHearing: () => outside.isHearing },
    lostLinks: () => outside.hearing,
  });
  const nothing = () => () => {};
  return {
    link: {
      publish: (publication) => outside.publish(publication),
      connected: (identity) => links.connected(identity),
      // The other broker passes on neither the acknowledgements of cameras nor who replaced whose connection.
      ...{ onDelivered: nothing, onTakeOver: nothing },
      get isHearing() {
        return outside.isHearing;
      },
      get unavailableReason() {
        return outside.unavailableReason;
      },
    },
    forBridge: { outside, mqttAddress: () => addressIn(config.url) },
    brokerUrl: () => config.url,
    addresses: () => [["MQTT broker", config.place]],
    listen: async () => outside.start(),
    stopListening: () => {},
    async stop() {
      await outside.stop();
      limitedLog.stop();
      links.stop();
    },
  };
}

const DEFAULT_PORTS: Readonly<Record<string, number>> = { mqtt: 1883, mqtts: 8883, ws: 80, wss: 443 };

/** Without user and password. */
function addressIn(url: string) {
  const { protocol, hostname, port } = new URL(url);
  const name = protocol.replace(":", "");
  return { protocol: name, host: hostname, port: port === "" ? (DEFAULT_PORTS[name] ?? 1883) : Number(port) };
}

/** Tells dashboards what may be missing. Cameras that number their messages are named by `link.gap` events. */
async function reportLoss(since: Date, ingest: Pick<BridgeIngest, "publish">, logger: Logger): Promise<void> {
  const error =
    `the MQTT broker has lost the session of this server: what cameras sent after ${since.toISOString()} and before ` +
    "now, and do not send again, is missing";
  const topic = { kind: "system", name: BROKER_EVENTS } as const;
  await ingest.publish({ topic, event: "error.occurred", data: { source: "mqtt-broker", error } }).catch((err) => {
    logger.warn({ err }, "the loss of the session could not be reported");
  });
}

import type { Logger } from "pino";
import type { TopicTree } from "../../contract/topics.ts";
import type { DeviceStore } from "../auth/devices.ts";
import type { BrokerLink } from "../broker-link/broker-link.ts";
import { type Publish, publishFor, publishToMqttFor } from "../broker-link/publish.ts";
import type { Cluster, Documents } from "../cluster/cluster.ts";
import { documentsFor, runAsSingleton, type Singleton } from "../cluster/singleton.ts";
import type { Journal } from "../journal/journal.ts";
import { startAlerts } from "./alerts/alerts.ts";
import type { AlertThresholds } from "./alerts/config.ts";
import type { CameraRecords } from "./camera-records.ts";
import type { cameraConfig } from "./config.ts";
import { startDuplicateDevices } from "./duplicate-devices.ts";
import type { HomeAssistantConfig } from "./home-assistant/config.ts";
import { type PictureSource, startHomeAssistant } from "./home-assistant/home-assistant.ts";
import { startLinkGaps } from "./link-gaps.ts";
import { startPublishedRecords } from "./published-records.ts";
import { startRemovedDevices } from "./removed-devices.ts";
import { sharePresence } from "./shared-presence.ts";
import type { Watcher } from "./watcher.ts";

interface WatchersOptions {
  config: ReturnType<typeof cameraConfig> & {
    alerts: Partial<AlertThresholds>;
    homeAssistant: Pick<HomeAssistantConfig, "pictureIntervalMs">;
    /** Undefined: the server has its own broker. */
    outsideBroker?: object | undefined;
  };
  cluster: Cluster;
  journal: Journal;
  tree: TopicTree;
  publish: Publish;
  link: BrokerLink;
  devices: DeviceStore;
  records: CameraRecords;
  pictures: PictureSource;
  /** The version of the server. */
  version: string;
  now: () => number;
  logger: Logger;
}

type TaskOptions = Pick<WatchersOptions, "journal" | "tree" | "publish" | "now" | "logger"> & {
  publishToMqtt: BrokerLink["publish"];
  documents: Documents;
  maxCameras: number;
};

/** Starts the watchers. Each watcher runs on one node of the cluster at a time. */
export function startWatchers(options: WatchersOptions) {
  const { config, cluster, link, devices, records, pictures, version, logger, ...shared } = options;
  const { maxCameras } = config.presence;
  const context = { ...shared, maxCameras };
  const { publish } = shared;
  /** @param name the name of the lease, which is stored in Redis */
  const single = (name: string, part: string, start: (options: TaskOptions) => Promise<Watcher>): Singleton => {
    const child = logger.child({ part });
    return runAsSingleton({
      ...{ leases: cluster.leases, name, logger: child },
      begin: (lease) =>
        start({
          ...context,
          publish: publishFor(lease, publish),
          publishToMqtt: publishToMqttFor(lease, link),
          documents: documentsFor(lease, cluster.documents),
          logger: child,
        }),
    });
  };

  const presenceLogger = logger.child({ part: "presence" });
  const presence = sharePresence({ ...context, cluster, link, devices, ...config.presence, logger: presenceLogger });
  const watchers = [
    presence,
    single("duplicate-clients", "duplicate-devices", async (task) => startDuplicateDevices({ ...task, link })),
    single("link-gaps", "link-gaps", (task) => startLinkGaps({ ...task, ...config.linkGaps })),
    single("alerts", "alerts", (task) => startAlerts({ ...task, thresholds: config.alerts })),
    single("home-assistant", "home-assistant", (task) =>
      startHomeAssistant({
        ...{ ...task, ...config.homeAssistant, pictures, version },
        isDirect: config.outsideBroker !== undefined,
      }),
    ),
    single("camera-records", "camera-records", async (task) => startPublishedRecords({ ...task, records })),
    single("forgetting", "removed-devices", (task) => startRemovedDevices({ ...task, link, devices })),
  ];

  return {
    presence,
    async stop() {
      for (const watcher of watchers.reverse()) await watcher.stop();
    },
  };
}

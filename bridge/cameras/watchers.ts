import type { Logger } from "pino";
import type { TopicTree } from "../../contract/topics.ts";
import type { DeviceStore } from "../auth/devices.ts";
import type { BrokerLink } from "../broker-link/broker-link.ts";
import type { Publish } from "../broker-link/publish.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { runAsSingleton, type Singleton } from "../cluster/singleton.ts";
import type { Journal } from "../journal/journal.ts";
import { startAlerts } from "./alerts/alerts.ts";
import type { AlertThresholds } from "./alerts/config.ts";
import type { cameraConfig } from "./config.ts";
import { startDuplicateDevices } from "./duplicate-devices.ts";
import { startLinkGaps } from "./link-gaps.ts";
import { startRemovedDevices } from "./removed-devices.ts";
import { sharePresence } from "./shared-presence.ts";
import type { Watcher } from "./watcher.ts";

interface WatchersOptions {
  config: ReturnType<typeof cameraConfig> & { alerts: Partial<AlertThresholds> };
  cluster: Cluster;
  journal: Journal;
  tree: TopicTree;
  publish: Publish;
  link: BrokerLink;
  devices: DeviceStore;
  now: () => number;
  logger: Logger;
}

/** Starts the watchers. Each watcher runs on one node of the cluster at a time. */
export function startWatchers({ config, cluster, link, devices, logger, ...shared }: WatchersOptions) {
  const { documents, leases } = cluster;
  const { maxCameras } = config.presence;
  const context = { ...shared, documents, maxCameras };
  /** @param lease the name of the lease, which is stored in Redis */
  const single = (lease: string, part: string, start: (logger: Logger) => Promise<Watcher>): Singleton => {
    const child = logger.child({ part });
    return runAsSingleton({ leases, name: lease, logger: child, begin: () => start(child) });
  };

  const presenceLogger = logger.child({ part: "presence" });
  const presence = sharePresence({ ...context, cluster, link, devices, ...config.presence, logger: presenceLogger });
  const watchers = [
    presence,
    single("duplicate-clients", "duplicate-devices", async (logger) =>
      startDuplicateDevices({ ...context, link, logger }),
    ),
    single("link-gaps", "link-gaps", (logger) => startLinkGaps({ ...context, ...config.linkGaps, logger })),
    single("alerts", "alerts", (logger) => startAlerts({ ...context, thresholds: config.alerts, logger })),
    single("forgetting", "removed-devices", (logger) => startRemovedDevices({ ...context, link, devices, logger })),
  ];

  return {
    presence,
    async stop() {
      for (const watcher of watchers.reverse()) await watcher.stop();
    },
  };
}

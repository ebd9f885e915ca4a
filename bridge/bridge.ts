import { join } from "node:path";
import type { Logger } from "pino";
import { Registry } from "prom-client";
import type { CustomChannels } from "../contract/channels.ts";
import { grantsOf } from "../contract/permissions.ts";
import type { TopicTree } from "../contract/topics.ts";
import { clientAddresses } from "../platform/client-addresses.ts";
import { LimitedLog } from "../platform/limited-log.ts";
import type { MqttAddress } from "../platform/mqtt-address.ts";
import { createOrigins } from "../platform/origins.ts";
import { RunningParts } from "../platform/running-parts.ts";
import { watchForwarding } from "../platform/untrusted-proxies.ts";
import { openAudit } from "./auth/audit.ts";
import { type Authority, isTrialMode } from "./auth/authority.ts";
import { type MqttClients, startEnforcement } from "./auth/enforcement.ts";
import type { LoginGuard } from "./auth/login-guard.ts";
import { startMqttAudit } from "./auth/mqtt-audit.ts";
import { startSignIn } from "./auth/start-sign-in.ts";
import type { BrokerLink } from "./broker-link/broker-link.ts";
import type { OutsideBroker } from "./broker-link/outside/outside-broker.ts";
import type { Publish } from "./broker-link/publish.ts";
import { openCameraRecords } from "./cameras/camera-records.ts";
import { startDesiredStates } from "./cameras/desired/desired.ts";
import { desiredStates } from "./cameras/desired/desired-store.ts";
import { seenCameras } from "./cameras/seen-cameras.ts";
import { startWatchers } from "./cameras/watchers.ts";
import { type ServerClock, SYSTEM_CLOCK } from "./clock/server-clock.ts";
import type { Cluster } from "./cluster/cluster.ts";
import { startCommands } from "./commands/commands.ts";
import type { BridgeConfig } from "./config.ts";
import { createCallers } from "./http/callers.ts";
import { type BrokerCounts, createMetrics } from "./http/metrics.ts";
import { startHttpServer } from "./http/server.ts";
import { type BridgeIngest, channelNotices } from "./ingest.ts";
import { type ArchiveStatus, startArchive } from "./journal/archive/archive.ts";
import type { Journal } from "./journal/journal.ts";
import { followLatestPreviews } from "./latest-previews.ts";
import type { Previews } from "./previews/previews.ts";
import { startAcceptedCounter } from "./stats/accepted-counter.ts";
import { lastBackupAt } from "./stats/last-backup.ts";
import { createLatencies, type Latencies, viewLatencies } from "./stats/latencies.ts";
import { startSharedStats } from "./stats/shared-stats.ts";
import { openStats } from "./stats/stats.ts";
import { createStoreCheck } from "./stats/store-check.ts";
import { startSystemStatus } from "./stats/system-status.ts";
import { startSockets } from "./websocket/server.ts";

/** A running bridge. The caller stops what it passed in, such as the journal. */
export interface Bridge {
  address: string;
  port: number;
  /** The bound METRICS_PORT; undefined without one. */
  metricsPort: number | undefined;
  /**
   * Accepts no new work: `/readyz` reports the stop, new connections are refused, and dashboards are disconnected a few
   * at a time. Work under way continues. Takes at most `SHUTDOWN_SPREAD_MS`. Idempotent.
   */
  drain(): Promise<void>;
  /** Drains, ends the work under way, and releases the port. Bounded in time. Idempotent. */
  stop(): Promise<void>;
}

export interface BridgeOptions {
  config: BridgeConfig;
  cluster: Cluster;
  /** The server's own clock. Default: the system's clock. */
  clock?: Omit<ServerClock, "stop">;
  journal: Journal;
  ingest: Pick<BridgeIngest, "publish" | "stats" | "attachCommands" | "timesOf">;
  link: BrokerLink;
  authority: Authority;
  guard: LoginGuard;
  /** The MQTT clients of this node. The bridge disconnects a client whose token is revoked. Default: none. */
  mqttClients?: MqttClients;
  tree: TopicTree;
  channels: CustomChannels;
  previews: Previews;
  /** The folder of the built dashboard page, served at `/`. Default: no page. */
  pagePath?: string;
  version: string;
  /** The program of the archive's thread. Default: the program in the build. */
  archiveWorker?: URL;
  /** Included in `/stats` and `/metrics`. */
  brokerStats?: () => BrokerCounts;
  /** The broker of `MQTT_URL`. Default: the server has its own broker. */
  outside?: Pick<OutsideBroker, "stats" | "unavailableReason">;
  /** Where devices connect. Default: not known. */
  mqttAddress?: () => MqttAddress | undefined;
  /** The metrics of other parts of the program. Default: none. */
  registry?: Registry;
  /** Default: not measured. */
  latencies?: Latencies;
  /** Messages for the operator while the server works, included in `/readyz`. Default: none. */
  notices?: () => readonly string[];
  logger: Logger;
}

/** @throws the error of the first part that cannot start, such as `EADDRINUSE`, after the other parts have stopped */
export async function startBridge(options: BridgeOptions): Promise<Bridge> {
  const { config, cluster, journal, ingest, link, authority, mqttClients, tree, channels, previews } = options;
  const { guard, version, clock = SYSTEM_CLOCK, brokerStats, outside, logger } = options;
  const { registry = new Registry(), latencies = createLatencies() } = options;
  const { operatorKey, allowedOrigins } = config;
  const publish: Publish = (message) => ingest.publish(message);
  const grants = (permissions: readonly string[]) => grantsOf(permissions, { tree, channels });
  const partLogger = (part: string) => logger.child({ part });
  const bridgeLogger = partLogger("bridge");
  const warn = (fields: object, message: string) => bridgeLogger.warn(fields, message);
  const storeUnavailableReason = () => journal.unavailableReason ?? cluster.unavailableReason;
  /** The journal still serves readers when another broker cannot be reached. */
  const workUnavailableReason = () => storeUnavailableReason() ?? outside?.unavailableReason;
  const isTrial = () => isTrialMode(config, authority);
  let phase: "starting" | "serving" | "stopping" = "starting";
  const parts = new RunningParts(bridgeLogger);

  try {
    const audit = parts.add(
      await openAudit({ destination: config.auditLog, maxBytes: config.maxAuditLogBytes, logger: partLogger("audit") }),
    );
    const addresses = clientAddresses(config.trustedProxies);
    const forwarding = parts.add(watchForwarding({ addresses, warn }));
    const originLog = new LimitedLog();
    parts.add({ stop: () => originLog.stop() });
    const isTrustedProxy = addresses.trusts;
    const origins = createOrigins({ allowed: allowedOrigins, isTrustedProxy, log: originLog, warn });
    const { counters } = cluster;
    const statsLogger = partLogger("stats");
    const stats = parts.add(
      counters === undefined
        ? await openStats({ path: join(config.dataPath, "stats.json"), logger: statsLogger })
        : startSharedStats({ counters, logger: statsLogger }),
    );
    parts.add(startAcceptedCounter(ingest, stats));
    journal.onReset((replaced) => {
      if (replaced !== undefined && replaced.lostEvents > 0) stats.add("lost_events", replaced.lostEvents);
    });
    const archive = parts.add(
      startArchive({
        ...{ config: config.archive, dataPath: config.dataPath, topicRoot: tree.root, journal, leases: cluster.leases },
        ...(options.archiveWorker === undefined ? {} : { workerFile: options.archiveWorker }),
        now: () => clock.cautious(),
        logger: partLogger("archive"),
      }),
    );
    const records = parts.add(
      await openCameraRecords({ documents: cluster.documents, logger: partLogger("cameras") }, authority.cameraGroups),
    );
    const shared = { cluster, journal, tree, link };
    const { presence } = parts.add(
      startWatchers({
        ...{ ...shared, config, publish, devices: authority.devices, records, pictures: previews, version },
        now: () => clock.now(),
        logger,
      }),
    );
    const desired = desiredStates(cluster.documents);
    const commands = parts.add(
      startCommands({
        ...shared,
        ...{ config: config.commands, audit },
        isSleeping: (camera) => presence.of(camera)?.status === "sleeping",
        publish,
        onIssued: () => stats.add("commands"),
        onApplied: (command) =>
          void desired.adopt(command).catch((err: unknown) => {
            const { camera, name } = command;
            logger.warn({ err, camera, name }, "applied command not kept as the desired state");
          }),
        logger: partLogger("commands"),
      }),
    );
    ingest.attachCommands(commands.mqtt);
    parts.add(
      startDesiredStates({
        ...{ cluster, journal, tree, publish, devices: authority.devices, run: commands.run },
        logger: partLogger("desired-states"),
      }),
    );
    const latestPreviews = parts.add(
      await followLatestPreviews({
        ...{ journal, previews, tree, channels, logger: partLogger("previews") },
        seenCameras: () => seenCameras(journal),
      }),
    );
    const sockets = parts.add(
      startSockets({
        config: { ...config.sockets, origins, addressOf: addresses.of, isTrustedProxy },
        ...{ journal, tokens: authority, grantsOf: grants, channels, audit, register: cluster.connections, commands },
        review: (identity) => authority.review(identity),
        latest: (channel) => latestPreviews.of(channel),
        onDelivered: (seconds) => latencies.journalToSocket.observe(seconds),
        store: { shared: cluster.shared, unavailableReason: storeUnavailableReason },
        logger: partLogger("sockets"),
      }),
    );
    parts.add(startMqttAudit({ clients: mqttClients, audit, publish, logger: partLogger("refusals") }));
    parts.add(startEnforcement({ authority, sockets, mqtt: mqttClients, logger: partLogger("accounts") }));
    parts.add(
      startSystemStatus({
        ...{ cluster, publish, version, unavailableReason: workUnavailableReason },
        clockJump: () => clock.jump,
        logger: partLogger("system-status"),
      }),
    );
    const signIn = parts.add(
      await startSignIn(config.oidc, { accounts: authority.accounts, logger: partLogger("sign-in") }),
    );
    const metrics = createMetrics(registry, () => ({
      version,
      isReady: phase === "serving" && workUnavailableReason() === undefined,
      ...{ journal, presence },
      archive: archive.status(),
      sockets: sockets.stats(),
      ingest: ingest.stats(),
      commands: commands.stats(),
      clockAheadSeconds: clock.jump?.ahead_seconds ?? 0,
      broker: brokerStats?.(),
      outsideBroker: outside?.stats(),
    }));
    const server = await startHttpServer({
      ...{ host: config.host, port: config.port, origins, forwarding, pagePath: options.pagePath },
      admit: (socket) => sockets.admit(socket),
      handleUpgrade: (request, socket, head) => {
        sockets.handleUpgrade(request, socket, head);
        // A refused connection has ended already.
        if (!socket.writableEnded && !socket.destroyed) stats.add("connections");
      },
      services: {
        http: config.http,
        callers: createCallers({
          ...{ tokens: authority, grantsOf: grants, operatorKey, isOpen: isTrial, allowedOrigins },
        }),
        addressOf: addresses.of,
        ...{ authority, guard, audit, journal, archive, tree, channels, publish, sockets, presence, previews },
        ...{ stats, records },
        ...{ signIn: signIn.provider, operatorKey, isTrial, addresses, mqttAddress: options.mqttAddress },
        latencies: () => viewLatencies(latencies),
        lastBackupAt: () => lastBackupAt(config.dataPath),
        signing: { secrets: config.jwtSecrets, now: () => authority.now() },
        ...{ relay: commands, desired, cluster, clock, version, eventTimes: (position) => ingest.timesOf(position) },
        unavailableReason: () => (phase === "serving" ? workUnavailableReason() : `the server is ${phase}`),
        checkStore: createStoreCheck({ write: () => cluster.check() }),
        notices: () => [...(options.notices?.() ?? []), ...channelNotices(journal)],
        metrics,
        counts: () => ({
          journal: {
            ...{ epoch: journal.epoch, head: journal.head, lost: journal.lostEvents },
            trouble: journal.unavailableReason,
          },
          sockets: sockets.stats(),
          archive: archiveStats(archive.status()),
          ingest: ingest.stats(),
          commands: commands.stats(),
          access: { first_try: isTrial(), untrusted_proxies: forwarding.list(), refused_origins: origins.refused() },
          ...(brokerStats === undefined ? {} : { broker: brokerStats() }),
          ...(outside === undefined ? {} : { outside_broker: outside.stats() }),
        }),
        log: logger,
        logger: partLogger("http"),
      },
    });
    phase = "serving";
    if (isTrial())
      bridgeLogger.warn("this machine gets tokens without a key until the first account or camera is added");
    const { address, port, metricsPort } = server;

    let stopping: Promise<void> | undefined;
    const drain = () => {
      phase = "stopping";
      return sockets.drain(config.shutdownSpreadMs);
    };
    const stop = async () => {
      await drain();
      // Both must stop at the same time: the server waits until its sockets are closed, and the sockets wait until the
      // server accepts no more upgrades.
      await Promise.all([server.stop(), parts.stop()]);
    };
    return {
      ...{ address, port, metricsPort, drain },
      stop() {
        stopping ??= stop();
        return stopping;
      },
    };
  } catch (error) {
    await parts.stop();
    throw error;
  }
}

/** What `/stats` says about the archive. */
function archiveStats(status: ArchiveStatus | undefined) {
  if (status === undefined) return { state: "off" };
  const { isFilling, position, behind, unavailableReason } = status;
  return {
    state: isFilling ? "filling" : "filled by another node",
    ...(position === undefined ? {} : { position }),
    ...(behind === undefined ? {} : { behind }),
    ...(unavailableReason === undefined ? {} : { trouble: unavailableReason }),
  };
}

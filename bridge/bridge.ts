import { join } from "node:path";
import type { Logger } from "pino";
import type { CustomChannels } from "../contract/channels.ts";
import { FINAL_COMMAND_STATUSES } from "../contract/commands.ts";
import { grantsOf } from "../contract/permissions.ts";
import type { TopicTree } from "../contract/topics.ts";
import { clientAddresses } from "../platform/client-addresses.ts";
import { LimitedLog } from "../platform/limited-log.ts";
import { createOrigins } from "../platform/origins.ts";
import { watchForwarding } from "../platform/untrusted-proxies.ts";
import { type Audit, openAudit } from "./auth/audit.ts";
import type { Authority } from "./auth/authority.ts";
import { type MqttClients, startEnforcement } from "./auth/enforcement.ts";
import { LoginGuard } from "./auth/login-guard.ts";
import { tellRefusedPublication } from "./auth/refusal-events.ts";
import type { BrokerLink } from "./broker-link/broker-link.ts";
import type { Publish } from "./broker-link/publish.ts";
import { startAlerts } from "./cameras/alerts/alerts.ts";
import { watchDuplicateDevices } from "./cameras/duplicate-devices.ts";
import { startLinkGaps } from "./cameras/link-gaps.ts";
import { watchRemovedDevices } from "./cameras/removed-devices.ts";
import { sharePresence } from "./cameras/shared-presence.ts";
import { type ServerClock, SYSTEM_CLOCK } from "./clock/server-clock.ts";
import type { Cluster } from "./cluster/cluster.ts";
import { runAsSingleton } from "./cluster/singleton.ts";
import { type CommandRunner, startCommandRelay } from "./commands/command-relay.ts";
import { MqttCommands } from "./commands/mqtt-commands.ts";
import { startSharedCommandQueue } from "./commands/shared-command-queue.ts";
import type { BridgeConfig } from "./config.ts";
import { createCallers } from "./http/routes/callers.ts";
import { startHttpServer } from "./http/server.ts";
import { type BridgeIngest, channelNotices } from "./ingest.ts";
import type { Journal } from "./journal/journal.ts";
import type { Previews } from "./previews/previews.ts";
import { startSharedStats } from "./stats/shared-stats.ts";
import { openStats, type Stats } from "./stats/stats.ts";
import { createStoreCheck } from "./stats/store-check.ts";
import { startSystemStatus } from "./stats/system-status.ts";
import { startSockets } from "./websocket/server.ts";

/** The bridge, serving dashboards and HTTP. What it was given (journal, ingest, previews) is its giver's to close. */
export interface Bridge {
  address: string;
  /** Bound; for port 0 the one that was free. */
  port: number;
  /**
   * Takes no new work: `/readyz` says so at once, new connections are refused, and dashboards are sent to other nodes,
   * a few at a time. What is under way goes on. Bounded by `SHUTDOWN_SPREAD_MS`, idempotent.
   */
  drain(): Promise<void>;
  /** Drains, ends what is under way, and lets go of the port. Bounded in time, idempotent. */
  stop(): Promise<void>;
}

export interface BridgeOptions {
  config: BridgeConfig;
  /** What the nodes know together. Its giver's to stop. */
  cluster: Cluster;
  /** The server's own clock. Its giver's to stop. Default: the system's. */
  clock?: Omit<ServerClock, "stop">;
  journal: Journal;
  ingest: Pick<BridgeIngest, "publish" | "stats" | "attachCommands">;
  link: BrokerLink;
  /** Its giver's to stop. */
  authority: Authority;
  /** The MQTT clients of this node: those whose tokens are revoked are ended. Default: there are none. */
  mqttClients?: MqttClients;
  tree: TopicTree;
  channels: CustomChannels;
  previews: Previews;
  /** The folder of the built dashboard page, served at `/`. */
  pagePath?: string;
  version: string;
  /** Shown in `/stats`. */
  brokerStats?: () => object;
  /** What an operator is to know though the server works, told with `/readyz`. Default: nothing. */
  notices?: () => readonly string[];
  logger: Logger;
}

interface Part {
  stop(): void | Promise<void>;
}

/** @throws what the first part that cannot start throws, such as `EADDRINUSE`; those already started are stopped */
export async function startBridge(options: BridgeOptions): Promise<Bridge> {
  const { config, cluster, journal, ingest, link, authority, tree, channels, previews, version, brokerStats, logger } =
    options;
  const { clock = SYSTEM_CLOCK } = options;
  const now = () => clock.now();
  const publish: Publish = (message) => ingest.publish(message);
  const grants = (permissions: readonly string[]) => grantsOf(permissions, { tree, channels });
  const addresses = clientAddresses(config.trustedProxies);
  const doors = new LimitedLog();
  const origins = createOrigins({
    ...{ allowed: config.allowedOrigins, isTrustedProxy: addresses.trusts, log: doors },
    warn: (fields, message) => logger.warn(fields, message),
  });
  const forwarding = watchForwarding({ addresses, warn: (fields, message) => logger.warn(fields, message) });
  let phase: "starting" | "serving" | "stopping" = "starting";
  /** In the order of starting; stopped in the reverse. */
  const parts: Part[] = [];
  const started = <P extends Part>(part: P): P => {
    parts.push(part);
    return part;
  };
  const storeUnavailableReason = () => journal.unavailableReason ?? cluster.unavailableReason;
  const stopParts = async () => {
    for (const part of parts.splice(0).reverse()) await part.stop();
  };

  try {
    const audit = started(
      await openAudit({
        ...{ destination: config.auditLog, maxBytes: config.maxAuditLogBytes },
        logger: logger.child({ part: "audit" }),
      }),
    );
    started(forwarding);
    started(doors);
    const { counters } = cluster;
    const statsLogger = logger.child({ part: "stats" });
    const stats = started(
      counters === undefined
        ? await openStats({ path: join(config.dataPath, "stats.json"), logger: statsLogger })
        : startSharedStats({ counters, logger: statsLogger }),
    );
    started(countAccepted(ingest, stats));
    const presence = started(
      sharePresence({
        ...{ cluster, journal, tree, publish, link, devices: authority.devices, now, ...config.presence },
        logger: logger.child({ part: "presence" }),
      }),
    );
    const { documents, leases } = cluster;
    const duplicatesLogger = logger.child({ part: "duplicate-clients" });
    started(
      runAsSingleton({
        ...{ leases, name: "duplicate-clients", logger: duplicatesLogger },
        begin: async () => watchDuplicateDevices({ link, journal, tree, publish, logger: duplicatesLogger }),
      }),
    );
    const { maxCameras } = config.presence;
    const watching = { journal, documents, tree, publish, maxCameras, now };
    const gapsLogger = logger.child({ part: "link-gaps" });
    started(
      runAsSingleton({
        ...{ leases, name: "link-gaps", logger: gapsLogger },
        begin: () => startLinkGaps({ ...watching, ...config.linkGaps, logger: gapsLogger }),
      }),
    );
    const alertsLogger = logger.child({ part: "alerts" });
    started(
      runAsSingleton({
        ...{ leases, name: "alerts", logger: alertsLogger },
        begin: () => startAlerts({ ...watching, thresholds: config.alerts, logger: alertsLogger }),
      }),
    );
    const forgettingLogger = logger.child({ part: "forgetting" });
    started(
      runAsSingleton({
        ...{ leases, name: "forgetting", logger: forgettingLogger },
        begin: () => watchRemovedDevices({ ...watching, link, devices: authority.devices, logger: forgettingLogger }),
      }),
    );
    const commandsLogger = logger.child({ part: "commands" });
    const maxPerCamera = config.commands.maxQueuedPerCamera + 1;
    const relay = started(
      startCommandRelay({
        link,
        journal,
        tree,
        isSleeping: (camera) => presence.of(camera)?.status === "sleeping",
        ...config.commands,
        ...(cluster.shared
          ? { queue: startSharedCommandQueue({ cluster, maxPerCamera, logger: commandsLogger }) }
          : {}),
        logger: commandsLogger,
      }),
    );
    const commands = auditedCommands(relay, stats, audit);
    // The broker writes into the audit log who gave them, for it knows where from.
    const mqttCommands = started(new MqttCommands({ relay, link, tree, audit, logger: commandsLogger }));
    ingest.attachCommands({
      take(command) {
        stats.add("commands");
        mqttCommands.take(command);
      },
      lost: mqttCommands.lost,
    });
    const sockets = startSockets({
      config: { ...config.sockets, origins, addressOf: addresses.of, isTrustedProxy: addresses.trusts },
      journal,
      tokens: authority,
      review: (identity) => authority.review(identity),
      grantsOf: grants,
      channels,
      audit,
      register: cluster.connections,
      store: { shared: cluster.shared, unavailableReason: storeUnavailableReason },
      commands,
      logger: logger.child({ part: "sockets" }),
    });
    started(sockets);
    const accountsLogger = logger.child({ part: "accounts" });
    started(auditMqtt(audit, options.mqttClients));
    const tellRefused = tellRefusedPublication({ publish, logger: logger.child({ part: "refusals" }) });
    const endTelling = options.mqttClients?.onPublicationRefused(tellRefused);
    started({ stop: () => endTelling?.() });
    started(startEnforcement({ authority, sockets, mqtt: options.mqttClients, logger: accountsLogger }));
    const guard = started(new LoginGuard({ ...config.logins, signals: cluster.signals, nodeId: cluster.nodeId }));
    started(
      startSystemStatus({
        cluster,
        unavailableReason: storeUnavailableReason,
        clockJump: () => clock.jump,
        publish,
        version,
        logger: logger.child({ part: "system-status" }),
      }),
    );
    const server = await startHttpServer({
      host: config.host,
      port: config.port,
      origins,
      forwarding,
      pagePath: options.pagePath,
      admit: (socket) => sockets.admit(socket),
      handleUpgrade: (request, socket, head) => {
        sockets.handleUpgrade(request, socket, head);
        // One that was refused is ended already.
        if (!socket.writableEnded && !socket.destroyed) stats.add("connections");
      },
      services: {
        http: config.http,
        callers: createCallers({
          tokens: authority,
          grantsOf: grants,
          operatorKey: config.operatorKey,
          isOpen: () => firstTryIsOpen(config, authority),
          allowedOrigins: config.allowedOrigins,
        }),
        addressOf: addresses.of,
        authority,
        guard,
        audit,
        journal,
        tree,
        channels,
        publish,
        sockets,
        relay: commands,
        presence,
        previews,
        stats,
        cluster,
        clock,
        version,
        unavailableReason: () => (phase === "serving" ? storeUnavailableReason() : `the server is ${phase}`),
        checkStore: createStoreCheck({ write: () => cluster.check() }),
        notices: () => [...(options.notices?.() ?? []), ...channelNotices(journal)],
        metrics: () => ({
          journal: { epoch: journal.epoch, head: journal.head, trouble: journal.unavailableReason },
          sockets: sockets.stats(),
          ingest: ingest.stats(),
          commands: relay.stats(),
          access: {
            first_try: firstTryIsOpen(config, authority),
            untrusted_proxies: forwarding.list(),
            refused_origins: origins.refused(),
          },
          ...(brokerStats === undefined ? {} : { broker: brokerStats() }),
        }),
        logger: logger.child({ part: "http" }),
      },
    });
    phase = "serving";
    if (firstTryIsOpen(config, authority))
      logger.warn("this machine gets tokens without a key until the first account or camera is added");
    logger.info({ address: server.address, port: server.port }, "bridge listening");

    let stopping: Promise<void> | undefined;
    const drain = () => {
      phase = "stopping";
      return sockets.drain(config.shutdownSpreadMs);
    };
    const stop = async () => {
      await drain();
      // At once, because each waits for the other: the server for its sockets to end, they for nobody new to come.
      await Promise.all([server.stop(), stopParts()]);
    };
    return {
      address: server.address,
      port: server.port,
      drain,
      stop() {
        stopping ??= stop();
        return stopping;
      },
    };
  } catch (error) {
    await stopParts();
    throw error;
  }
}

/**
 * Whether `POST /auth/token` asks this machine for no key now. Not where a proxy is named: what comes through one comes from
 * elsewhere, and one that is not named right would hide that.
 */
export function firstTryIsOpen(
  { loopback, trustedProxies }: Pick<BridgeConfig, "loopback" | "trustedProxies">,
  { firstTry }: Pick<Authority, "firstTry">,
): boolean {
  return loopback && trustedProxies.length === 0 && firstTry;
}

/** Runs commands, counts them, and notes who asked for which, and what came of it. */
function auditedCommands(relay: CommandRunner, stats: Stats, audit: Audit): CommandRunner {
  return {
    run(request, onUpdate) {
      stats.add("commands");
      const { camera, name, from } = request;
      const note = (outcome: string) =>
        audit.record({ action: "command", ...from, target: `camera:${camera} ${name}`, outcome });
      note("issued");
      relay.run(request, (update) => {
        if (FINAL_COMMAND_STATUSES.has(update.status)) note(update.status);
        onUpdate(update);
      });
    },
  };
}

/** What comes by way of the broker, in the same log as what HTTP and WebSockets do. */
function auditMqtt(audit: Audit, clients: MqttClients | undefined): Part {
  const ends = [
    clients?.onRefused((refusal) => audit.refuse(refusal)),
    clients?.onCarriedOut((act) => audit.record(act)),
  ];
  return {
    stop() {
      for (const end of ends) end?.();
    },
  };
}

/** How often what was accepted is counted into the totals, milliseconds. */
const COUNT_INTERVAL_MS = 250;

/** Counts what this node accepted. What it follows, the other nodes follow too, and it would be counted by each. */
function countAccepted(ingest: BridgeOptions["ingest"], stats: Stats): Part {
  let counted = ingest.stats().accepted;
  const count = () => {
    const { accepted } = ingest.stats();
    if (accepted > counted) stats.add("events", accepted - counted);
    counted = accepted;
  };
  const timer = setInterval(count, COUNT_INTERVAL_MS);
  timer.unref();
  return {
    stop() {
      clearInterval(timer);
      count();
    },
  };
}

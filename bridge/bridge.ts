import { join } from "node:path";
import type { Logger } from "pino";
import type { CustomChannels } from "../contract/channels.ts";
import { grantsOf } from "../contract/permissions.ts";
import type { TopicTree } from "../contract/topics.ts";
import { clientAddresses } from "./addresses.ts";
import type { BrokerLink } from "./broker-link/broker-link.ts";
import { startCommandRelay } from "./command-relay.ts";
import type { BridgeConfig } from "./config.ts";
import { watchDuplicateClients } from "./duplicate-clients.ts";
import type { Journal } from "./journal/journal.ts";
import { startPresence } from "./presence.ts";
import type { Previews } from "./previews.ts";
import type { Publish } from "./publish.ts";
import { createCallers } from "./routes/callers.ts";
import { startHttpServer } from "./server.ts";
import { startSockets } from "./sockets.ts";
import { openStats } from "./stats.ts";
import { startSystemStatus } from "./system-status.ts";
import type { Tokens } from "./tokens.ts";

/** The bridge, serving dashboards and HTTP. What it was given (journal, ingest, previews) is its giver's to close. */
export interface Bridge {
  address: string;
  /** Bound; for port 0 the one that was free. */
  port: number;
  /** Says goodbye to dashboards, ends what is under way, and lets go of the port. Bounded in time, idempotent. */
  stop(): Promise<void>;
}

export interface BridgeOptions {
  config: BridgeConfig;
  journal: Journal;
  ingest: { publish: Publish; stats(): object };
  link: BrokerLink;
  tokens: Tokens;
  tree: TopicTree;
  channels: CustomChannels;
  previews: Previews;
  /** The folder of the built dashboard page, served at `/`. */
  pagePath?: string;
  version: string;
  /** Shown in `/stats`. */
  brokerStats?: () => object;
  logger: Logger;
}

interface Part {
  stop(): void | Promise<void>;
}

/** @throws what the first part that cannot start throws, such as `EADDRINUSE`; those already started are stopped */
export async function startBridge(options: BridgeOptions): Promise<Bridge> {
  const { config, journal, ingest, link, tokens, tree, channels, previews, version, brokerStats, logger } = options;
  const publish: Publish = (message) => ingest.publish(message);
  const grants = (permissions: readonly string[]) => grantsOf(permissions, { tree, channels });
  const addresses = clientAddresses(config.trustedProxies);
  let phase: "starting" | "serving" | "stopping" = "starting";
  /** In the order of starting; stopped in the reverse. */
  const parts: Part[] = [];
  const started = <P extends Part>(part: P): P => {
    parts.push(part);
    return part;
  };
  const stopParts = async () => {
    for (const part of parts.splice(0).reverse()) await part.stop();
  };

  try {
    const stats = started(
      await openStats({ path: join(config.dataPath, "stats.json"), logger: logger.child({ part: "stats" }) }),
    );
    const unfollow = journal.follow((entries) => stats.add("events", entries.length));
    started({ stop: unfollow });
    const presence = started(
      startPresence({ journal, tree, publish, link, ...config.presence, logger: logger.child({ part: "presence" }) }),
    );
    started(
      watchDuplicateClients({ link, journal, tree, publish, logger: logger.child({ part: "duplicate-clients" }) }),
    );
    const relay = started(
      startCommandRelay({
        link,
        journal,
        tree,
        isSleeping: (camera) => presence.of(camera)?.status === "sleeping",
        ...config.commands,
        logger: logger.child({ part: "commands" }),
      }),
    );
    const sockets = startSockets({
      config: { ...config.sockets, addressOf: addresses.of },
      journal,
      tokens,
      grantsOf: grants,
      channels,
      commands: {
        run(request, onUpdate) {
          stats.add("commands");
          relay.run(request, onUpdate);
        },
      },
      logger: logger.child({ part: "sockets" }),
    });
    started(sockets);
    started(startSystemStatus({ journal, publish, version, logger: logger.child({ part: "system-status" }) }));
    const server = await startHttpServer({
      host: config.host,
      port: config.port,
      allowedOrigins: config.allowedOrigins,
      pagePath: options.pagePath,
      handleUpgrade: (request, socket, head) => {
        sockets.handleUpgrade(request, socket, head);
        // One that was refused is ended already.
        if (!socket.writableEnded && !socket.destroyed) stats.add("connections");
      },
      services: {
        http: config.http,
        callers: createCallers({
          tokens,
          grantsOf: grants,
          operatorKey: config.operatorKey,
          loopback: config.loopback,
          allowedOrigins: config.allowedOrigins,
        }),
        addressOf: addresses.of,
        tokens,
        journal,
        tree,
        channels,
        publish,
        sockets,
        relay,
        presence,
        previews,
        stats,
        version,
        trouble: () => (phase === "serving" ? journal.trouble : `the server is ${phase}`),
        figures: () => ({
          journal: { epoch: journal.epoch, head: journal.head, trouble: journal.trouble },
          sockets: sockets.stats(),
          ingest: ingest.stats(),
          commands: relay.stats(),
          ...(brokerStats === undefined ? {} : { broker: brokerStats() }),
        }),
        logger: logger.child({ part: "http" }),
      },
    });
    phase = "serving";
    if (config.loopback) logger.warn("tokens are minted without the operator key for this machine: HOST is loopback");
    logger.info({ address: server.address, port: server.port }, "bridge listening");

    let stopping: Promise<void> | undefined;
    const stop = async () => {
      phase = "stopping";
      // At once, because each waits for the other: the server for its sockets to end, they for nobody new to come.
      await Promise.all([server.stop(), stopParts()]);
    };
    return {
      address: server.address,
      port: server.port,
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

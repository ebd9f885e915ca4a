import { join } from "node:path";
import type { Logger } from "pino";
import { Registry } from "prom-client";
import { type Authority, isTrialMode, openAuthority } from "../bridge/auth/authority.ts";
import { LoginGuard } from "../bridge/auth/login-guard.ts";
import { createTokens } from "../bridge/auth/tokens.ts";
import { type Bridge, startBridge } from "../bridge/bridge.ts";
import { createIngest } from "../bridge/ingest.ts";
import { createLatencies } from "../bridge/stats/latencies.ts";
import { takeOverEarlierSessions } from "../broker/sessions/earlier/take-over.ts";
import { topicTree } from "../contract/topics.ts";
import type { Damage } from "../platform/level/damage.ts";
import { RunningParts } from "../platform/running-parts.ts";
import { type BackendConfig, simulatedIds } from "./config/backend-config.ts";
import { startEmbeddedBroker } from "./embedded-broker.ts";
import { urlOf } from "./listening-url.ts";
import type { MqttSide } from "./mqtt-side.ts";
import { joinOutsideBroker } from "./outside-broker.ts";
import { startSimulatedCameras } from "./simulator/simulated-cameras.ts";
import { DamageLog } from "./stores/damage-log.ts";
import { importDevices } from "./stores/import-devices.ts";
import { earlierSessionsPath } from "./stores/store-folders.ts";
import { openStores, type Stores } from "./stores/stores.ts";

export interface Backend {
  /** Such as `http://127.0.0.1:8082`. */
  http: string;
  /** For people to read: one pair for each port on which the server listens. */
  addresses: readonly (readonly [label: string, address: string])[];
  /** Ids of the simulated cameras. */
  cameras: readonly string[];
  /** Whether tokens are issued without a key now: see {@link isTrialMode}. */
  firstTry: boolean;
  /** Proves access to this machine when the first admin is added. Undefined: there is an admin. */
  setupCode: string | undefined;
  /** Stops all parts in reverse order of their start. Idempotent. */
  stop(): Promise<void>;
}

interface BackendOptions {
  config: BackendConfig;
  version: string;
  /** The folder of the built dashboard page. */
  pagePath: string;
  logger: Logger;
  /** When aborted, the start ends early and throws. Default: never. */
  stopSignal?: AbortSignal;
}

/**
 * Starts the broker and the bridge in this process, and the simulated cameras in another process. If a part cannot
 * start, all parts that are already running are stopped.
 */
export async function startBackend(options: BackendOptions): Promise<Backend> {
  const { config, version, pagePath, logger, stopSignal = new AbortController().signal } = options;
  const { bridge: bridgeConfig, broker: brokerConfig } = config;
  const { channels, dataPath, maxPayloadBytes, outsideBroker } = bridgeConfig;
  const tree = topicTree(bridgeConfig.topicRoot, bridgeConfig.homeAssistant.discoveryPrefix);
  const partLogger = (part: string) => logger.child({ part });
  const parts = new RunningParts(logger);
  try {
    warnOfSeparateSecrets(config, logger);
    const shared = new Map([...bridgeConfig.shared, ...(outsideBroker === undefined ? brokerConfig.shared : [])]);
    const damageLog = new DamageLog(dataPath, logger);
    const onDamage = (damage: Damage) => damageLog.note(damage);
    const stores = parts.add(await openStores({ store: config.store, bridge: bridgeConfig, shared, onDamage, logger }));
    const { cluster, clock, journal, previews, redis } = stores;

    const authority = parts.add(await openBackendAuthority(config, stores, logger));
    const { devices } = authority;
    const guard = parts.add(new LoginGuard({ ...bridgeConfig.logins, ...cluster }));
    stopSignal.throwIfAborted();
    await importDevices({ path: join(dataPath, "devices.json"), devices, logger });

    if (outsideBroker === undefined)
      await takeOverEarlierSessions({
        ...{ path: earlierSessionsPath(dataPath), redis, log: journal.mqtt, onDamage, logger: partLogger("broker") },
        isCommand: (topic) => tree.parse(topic)?.kind === "camera-command",
      });

    const registry = new Registry();
    const latencies = createLatencies(registry);
    const ingest = createIngest({
      ...{ journal, tree, channels, previews, maxPayloadBytes, latencies },
      isRegistered: (camera) => devices.get(camera)?.kind === "camera",
      logger: partLogger("ingest"),
    });
    const mqtt = parts.add(
      outsideBroker === undefined
        ? await startEmbeddedBroker({ config, stores, authority, guard, tree, ingest, onDamage, logger })
        : joinOutsideBroker({
            ...{ config: outsideBroker, broker: brokerConfig, maxPayloadBytes, stores, tree, ingest, logger },
          }),
    );
    stopSignal.throwIfAborted();
    await ingest.reportLostCommands();

    const bridge = parts.add(
      await startBridge({
        ...{ config: bridgeConfig, authority, guard, tree, channels, pagePath, version },
        ...{ cluster, clock, journal, ingest, link: mqtt.link, previews, ...mqtt.forBridge },
        ...{ registry, latencies },
        notices: () => damageLog.notices(),
        logger,
      }),
    );
    stopSignal.throwIfAborted();
    // The broker listens last, so that it accepts no event before the bridge can consume it.
    await mqtt.listen();
    const simulator = await startSimulatedCameras({
      ...{ config, devices, stopSignal },
      brokerUrl: mqtt.brokerUrl(),
    });
    if (simulator !== undefined) parts.add(simulator);
    stopSignal.throwIfAborted();

    let stopping: Promise<void> | undefined;
    return {
      http: urlOf("http", bridgeConfig.host, bridge.port),
      addresses: addressesOf(config, bridge, mqtt),
      cameras: simulator?.ids ?? [],
      firstTry: isTrialMode(bridgeConfig, authority),
      setupCode: await authority.setupCode.current(),
      stop() {
        if (stopping !== undefined) return stopping;
        // Stop listening first, because load balancers and new clients must avoid this node from now on.
        mqtt.stopListening();
        void bridge.drain();
        stopping = parts.stop();
        return stopping;
      },
    };
  } catch (error) {
    await parts.stop();
    throw error;
  }
}

/** Nodes that share a Redis must also share the secret that signs tokens. */
function warnOfSeparateSecrets({ store, bridge, secrets }: BackendConfig, logger: Logger): void {
  if (store.url !== undefined && secrets.jwtSecret.split("\n").includes(bridge.jwtSecrets[0] ?? ""))
    logger.warn("other nodes refuse the tokens of this node: set the same JWT_SECRET and OPERATOR_KEY at all nodes");
}

async function openBackendAuthority(
  { bridge, simulator, secrets }: BackendConfig,
  { cluster, clock }: Stores,
  logger: Logger,
): Promise<Authority> {
  const { jwks, jwtSecrets, jwtAudience } = bridge;
  const provider =
    jwks &&
    (await import("../bridge/auth/identity-provider.ts")).createIdentityProvider({
      ...jwks,
      logger: logger.child({ part: "tokens" }),
    });
  return await openAuthority({
    // Otherwise a node whose clock is wrong would refuse the tokens of the others.
    tokens: createTokens({ secrets: jwtSecrets, provider, audience: jwtAudience, now: () => cluster.now() }),
    documents: cluster.documents,
    config: bridge.accounts,
    expiryNow: () => clock.cautious(),
    // Includes the simulated cameras of earlier starts: they are still in the store, and no operator added them.
    simulated: simulatedIds(simulator).length > 0 ? Object.keys(secrets.simulator) : [],
    logger: logger.child({ part: "accounts" }),
  });
}

function addressesOf({ bridge }: BackendConfig, { port, metricsPort }: Bridge, mqtt: MqttSide): Backend["addresses"] {
  return [
    ["Dashboard", `${urlOf("http", bridge.host, port)}/`],
    ["WebSocket", `${urlOf("ws", bridge.host, port)}/ws`],
    ...mqtt.addresses(),
    ...(metricsPort === undefined || bridge.http.metricsAddress === undefined
      ? []
      : [["Metrics", `${urlOf("http", bridge.http.metricsAddress.host, metricsPort)}/metrics`] as const]),
  ];
}

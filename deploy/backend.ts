import { join } from "node:path";
import type { Logger } from "pino";
import { openAuthority } from "../bridge/auth/authority.ts";
import { isRevoked } from "../bridge/auth/enforcement.ts";
import { createIdentityProvider } from "../bridge/auth/identity-provider.ts";
import { createTokens } from "../bridge/auth/tokens.ts";
import { firstTryIsOpen, startBridge } from "../bridge/bridge.ts";
import type { BrokerLink } from "../bridge/broker-link/broker-link.ts";
import { shareLink } from "../bridge/broker-link/shared-link.ts";
import type { Cluster } from "../bridge/cluster/cluster.ts";
import { type BridgeIngest, createIngest } from "../bridge/ingest.ts";
import type { Journal } from "../bridge/journal/journal.ts";
import { TokenUndecidedError } from "../broker/aedes/errors.ts";
import { type Broker, startBroker } from "../broker/broker.ts";
import { topicTree } from "../contract/topics.ts";
import type { SimulatedCameraOptions } from "../device/simulator.ts";
import { clientAddresses } from "../platform/client-addresses.ts";
import type { Damage } from "../platform/level/damage.ts";
import { type BackendConfig, PLACES, SERVICE_ID, simulatedIds } from "./config/backend-config.ts";
import type { Secrets } from "./config/secrets.ts";
import { importDevices } from "./import-devices.ts";
import { startSimulatorProcess } from "./simulator-process.ts";
import { DamageLog } from "./stores/damage-log.ts";
import { openStores } from "./stores/stores.ts";

export interface Backend {
  /** `http://127.0.0.1:8082` */
  http: string;
  /** Label and address of everything that listens, for a person to read. */
  addresses: readonly (readonly [label: string, address: string])[];
  /** Ids of the simulated cameras. */
  cameras: readonly string[];
  /** Tokens are given without a key now: see {@link firstTryIsOpen}. */
  firstTry: boolean;
  /** Nobody can log in: there is no account. */
  withoutAccounts: boolean;
  /** Ends all parts, the last in first out. Idempotent. */
  stop(): Promise<void>;
}

export interface BackendOptions {
  config: BackendConfig;
  version: string;
  /** The built dashboard page. */
  pagePath: string;
  logger: Logger;
}

/** Broker and bridge in this process, everything durable under `DATA_PATH`; the simulator beside it. Should one not start, those before it are stopped. */
export async function startBackend({ config, version, pagePath, logger }: BackendOptions): Promise<Backend> {
  const running: { stop(): Promise<void> }[] = [];
  let drain = () => {};
  let stopping: Promise<void> | undefined;
  const stop = () => {
    // Before anything is waited for: nobody is to be sent here any more.
    if (stopping === undefined) drain();
    stopping ??= stopAll(running, logger);
    return stopping;
  };
  try {
    const { bridge: bridgeConfig, broker: brokerConfig } = config;
    const tree = topicTree(bridgeConfig.topicRoot);
    const { channels, dataPath, maxPayloadBytes } = bridgeConfig;
    const { jwks } = bridgeConfig;
    const provider =
      jwks === undefined ? undefined : createIdentityProvider({ ...jwks, logger: logger.child({ part: "tokens" }) });
    const tokens = createTokens({ secrets: bridgeConfig.jwtSecrets, provider, audience: bridgeConfig.jwtAudience });

    if (config.store.url !== undefined && bridgeConfig.jwtSecrets[0] === config.secrets.jwtSecret)
      logger.warn("tokens of this node are good at no other: set the same JWT_SECRET and OPERATOR_KEY at all nodes");
    const damageLog = new DamageLog(dataPath, logger);
    const onDamage = (damage: Damage) => damageLog.note(damage);
    const stores = await openStores({ store: config.store, bridge: bridgeConfig, onDamage, logger });
    running.push(stores);
    const { cluster, clock, journal, previews } = stores;
    const authority = await openAuthority({
      ...{ tokens, documents: cluster.documents, config: bridgeConfig.accounts, expiryNow: () => clock.cautious() },
      // Those of earlier starts with more cameras, too: they are still in the store, and nobody's.
      simulated: simulatedIds(config.simulator).length > 0 ? Object.keys(config.secrets.simulator) : [],
      logger: logger.child({ part: "accounts" }),
    });
    running.push({ stop: async () => authority.stop() });
    const { devices } = authority;
    await importDevices({ path: join(dataPath, "devices.json"), devices, logger });

    const ingest = createIngest({
      journal,
      tree,
      channels,
      previews,
      maxPayloadBytes,
      isRegistered: (camera) => devices.get(camera)?.kind === "camera",
      logger: logger.child({ part: "ingest" }),
    });
    const broker = await startBroker({
      config: brokerConfig,
      tree,
      channels,
      async verifyToken(token) {
        await authority.prepare(token)?.catch((cause: unknown) => {
          throw new TokenUndecidedError("the identity provider does not answer", { cause });
        });
        return authority.verify(token);
      },
      devices,
      isRevoked: (bearer) => isRevoked(authority, bearer),
      ingest,
      addresses: clientAddresses(bridgeConfig.trustedProxies),
      now: () => clock.now(),
      ...(stores.redis === undefined ? {} : { redis: stores.redis }),
      onDamage,
      logger: logger.child({ part: "broker" }),
    });
    running.push(broker);
    const link = stores.redis === undefined ? broker : await shareLinkOf(broker, cluster, running);
    ingest.attach(broker);
    await ingest.replayUnemitted();
    emitWhatOthersLeft(journal, ingest, logger);

    const bridge = await startBridge({
      config: bridgeConfig,
      cluster,
      clock,
      journal,
      ingest,
      link,
      authority,
      mqttClients: broker,
      tree,
      channels,
      previews,
      pagePath,
      version,
      brokerStats: () => broker.stats(),
      notices: () => damageLog.notices(),
      logger: logger.child({ part: "bridge" }),
    });
    running.push(bridge);
    drain = () => {
      broker.stopListening();
      void bridge.drain();
    };
    // Last, so that nothing is accepted before somebody listens to it.
    await broker.listen();

    const cameras = simulatedCameras(config);
    if (cameras.length > 0) {
      for (const { id, secret } of cameras) await devices.set({ id, kind: "camera", secret });
      const service = { id: SERVICE_ID, secret: secretOf(config.secrets, SERVICE_ID) };
      await devices.set({ ...service, kind: "processing" });
      running.push(
        await startSimulatorProcess({
          brokerUrl: urlOf("mqtt", brokerConfig.host, broker.ports.mqtt),
          topicRoot: bridgeConfig.topicRoot,
          cameras,
          service,
          captureIntervalS: config.simulator.CAPTURE_INTERVAL_S,
          width: config.simulator.SIMULATOR_WIDTH,
          dataPath: join(dataPath, "simulator"),
          logLevel: bridgeConfig.logLevel,
        }),
      );
    }

    const http = urlOf("http", bridgeConfig.host, bridge.port);
    return {
      http,
      addresses: [
        ["Dashboard", `${http}/`],
        ["WebSocket", `${urlOf("ws", bridgeConfig.host, bridge.port)}/ws`],
        ["MQTT", urlOf("mqtt", brokerConfig.host, broker.ports.mqtt)],
        ...(broker.ports.mqtts === undefined
          ? []
          : [["MQTT over TLS", urlOf("mqtts", brokerConfig.host, broker.ports.mqtts)] as const]),
        ["MQTT over WebSocket", urlOf("ws", brokerConfig.host, broker.ports.mqttWs)],
      ],
      cameras: cameras.map(({ id }) => id),
      firstTry: firstTryIsOpen(bridgeConfig, authority),
      withoutAccounts: authority.accounts.list().length === 0,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The bridge sees the clients of all nodes. */
async function shareLinkOf(
  broker: Broker,
  cluster: Cluster,
  running: { stop(): Promise<void> }[],
): Promise<BrokerLink> {
  const identities = () => broker.clients().map(({ identity }) => identity);
  const link = await shareLink({ link: broker, identities, cluster });
  running.push({ stop: async () => link.stop() });
  return link;
}

/** Another node died before it gave MQTT subscribers what it had accepted: this one does. One round at a time. */
function emitWhatOthersLeft(
  journal: Pick<Journal, "onUndelivered">,
  ingest: Pick<BridgeIngest, "replayUnemitted">,
  logger: Logger,
): void {
  let wanted = false;
  let emitting = false;
  const emit = async () => {
    emitting = true;
    try {
      while (wanted) {
        wanted = false;
        await ingest.replayUnemitted({ late: true });
      }
    } catch (error) {
      logger.warn({ err: error }, "what another node had accepted is not published yet");
    }
    emitting = false;
  };
  journal.onUndelivered(() => {
    wanted = true;
    if (!emitting) void emit();
  });
}

async function stopAll(running: readonly { stop(): Promise<void> }[], logger: Logger): Promise<void> {
  for (const part of running.toReversed()) {
    try {
      await part.stop();
    } catch (error) {
      logger.error({ err: error }, "a part did not stop cleanly");
    }
  }
}

function simulatedCameras({ simulator, secrets }: BackendConfig): SimulatedCameraOptions[] {
  return simulatedIds(simulator)
    .filter((id) => id !== SERVICE_ID)
    .map((id) => ({
      id,
      secret: secretOf(secrets, id),
      lat: simulator.LOCATION_LAT,
      lon: simulator.LOCATION_LON,
      timezone: simulator.TIMEZONE,
      name: PLACES.find((place) => place.id === id)?.name ?? id,
    }));
}

function secretOf(secrets: Secrets, id: string): string {
  const secret = secrets.simulator[id];
  if (secret === undefined) throw new Error(`no secret was made for the simulated device ${id}`);
  return secret;
}

function urlOf(scheme: string, host: string, port: number | undefined): string {
  const name = host === "0.0.0.0" || host === "::" ? "localhost" : host.includes(":") ? `[${host}]` : host;
  return `${scheme}://${name}:${port}`;
}

import { join } from "node:path";
import type { Client } from "aedes";
import type { Logger } from "pino";
import type { CustomChannels } from "../contract/channels.ts";
import { MAX_TOPIC_LENGTH, type TopicTree } from "../contract/topics.ts";
import type { ClientAddresses } from "../platform/client-addresses.ts";
import type { AccessRefusal, AuditedAct, Bearer } from "../platform/identity.ts";
import type { OnDamage } from "../platform/level/damage.ts";
import { Listeners } from "../platform/listeners.ts";
import type { Delivery, Ingest, OutgoingPublication, RefusedPublication, TakeOver } from "../platform/publications.ts";
import type { RedisConnections } from "../platform/redis/connections.ts";
import { Admission } from "./access/admission.ts";
import { Authenticate } from "./access/authenticate.ts";
import { AuthorizeForward } from "./access/authorize-forward.ts";
import { AuthorizePublish } from "./access/authorize-publish.ts";
import { AuthorizeSubscribe } from "./access/authorize-subscribe.ts";
import { ClientLifecycle } from "./access/client-lifecycle.ts";
import { type ClientAccess, ClientRegistry } from "./access/client-registry.ts";
import { MAX_CLIENT_ID_LENGTH } from "./access/connect-packet.ts";
import { ConnectRefusals } from "./access/connect-refusals.ts";
import type { VerifyToken } from "./access/credentials.ts";
import type { Devices } from "./access/devices.ts";
import { deviceIdentity, endedIdentities } from "./access/ended-identities.ts";
import { PermissionSets } from "./access/permission-sets.ts";
import type { RefusedDevice } from "./access/refused-devices.ts";
import { RefusedPublications } from "./access/refused-publications.ts";
import { reservedFor, sessionKey } from "./access/session-names.ts";
import { TakeOvers } from "./access/take-overs.ts";
import { WillAdmission } from "./access/will-admission.ts";
import { Wills } from "./access/wills.ts";
import { acknowledgedMessage } from "./aedes/delivery-receipts.ts";
import { ForwardingBroker } from "./aedes/forwarding-broker.ts";
import { aedesOptions } from "./aedes/options.ts";
import type { BrokerConfig } from "./config.ts";
import { IngestGate } from "./ingest-gate.ts";
import { Connections } from "./listeners/connections.ts";
import { type OpenListeners, openListeners, PEER_ADDRESSES, type Ports } from "./listeners/listeners.ts";
import { openLevelStorage } from "./sessions/level/level.ts";
import { openRedisStorage, type RedisStorage } from "./sessions/redis/redis.ts";
import { SessionCleanup } from "./sessions/session-cleanup.ts";
import type { BrokerStorage } from "./sessions/storage.ts";

/** A PUBLISH's fixed header, topic length, message id, and topic (in UTF-8 a character takes up to 3 bytes). */
const PACKET_OVERHEAD_BYTES = 16 + 3 * MAX_TOPIC_LENGTH;
/** How long {@link Broker.stop} waits for unfinished publications, and then for clients to close. */
const STOP_DRAIN_MS = 700;
const STOP_CLOSE_MS = 700;
const POLL_MS = 10;

interface BrokerOptions {
  config: BrokerConfig;
  tree: TopicTree;
  channels: CustomChannels;
  verifyToken: VerifyToken;
  devices: Devices;
  /** Whether the bearer's token, or the login that it comes from, is revoked. Ignores expiry. Default: never. */
  isRevoked?(bearer: Bearer): boolean;
  ingest: Ingest;
  /** Finds the address of a client that connects by WebSocket through a trusted proxy. Default: the peer's address. */
  addresses?: ClientAddresses;
  /**
   * Redis, where any number of nodes share sessions, retained messages and wills. Default: LevelDB below `dataPath`,
   * for one node.
   */
  redis?: RedisConnections;
  /** Called when the store is found to be damaged, which is also logged. */
  onDamage?: OnDamage;
  /** The clock by which sessions age, milliseconds since 1970. Default: the system's clock. */
  now?: () => number;
  logger: Logger;
}

/** Counts since the start, and current sizes. */
interface BrokerStats {
  /** Connected clients. */
  clients: number;
  /** Open connections, authenticated or not. */
  connections: number;
  /** Connections refused because of a limit before their CONNECT. */
  refusedConnections: number;
  /** CONNECTs answered with a refusing CONNACK. */
  refusedClients: number;
  /** Registered devices that were refused and have not connected since. */
  refusedDevices: readonly RefusedDevice[];
  /** Publications of clients that passed the access rules. */
  received: number;
  refusedSubscriptions: number;
  /** Messages delivered to clients. */
  delivered: number;
  /** QoS 0 messages dropped for slow clients. */
  shed: number;
  /** Connections closed because the client was too slow for messages of QoS 1 or 2. */
  slowClients: number;
  /** Publications that were acknowledged and discarded, or not retained. */
  refusedPublishes: number;
  /** Publications that could not be made durable and were not acknowledged. */
  notAccepted: number;
  /** Stored sessions. */
  sessions: number;
  retainedMessages: number;
  /** Publications that were not retained because of a limit. */
  refusedRetained: number;
  /** Messages in the queues of persistent sessions. */
  offlineMessages: number;
  offlineBytes: number;
  /** Messages dropped from full queues. */
  droppedOfflineMessages: number;
}

/** Each `on…` method returns a function that removes the listener. */
export interface Broker {
  /** Opens the listeners. @throws {ListenError} the message names the variable, the port and the remedy */
  listen(): Promise<void>;
  /** Accepts no more connections. Open connections stay open. Idempotent. */
  stopListening(): void;
  /** Empty before {@link listen}. */
  readonly ports: Ports;
  /**
   * Publishes as the backend, without access rules and without ingest. Resolves when subscribers and queues have the
   * message.
   */
  publish(publication: OutgoingPublication): Promise<void>;
  /** Whether a client of the identity is connected. */
  connected(identity: string): boolean;
  /** Calls back when a device has acknowledged a command, with a clean or a persistent session. */
  onDelivered(listener: (delivery: Delivery) => void): () => void;
  onTakeOver(listener: (takeOver: TakeOver) => void): () => void;
  /** Calls back for each connection beyond a limit, and for each refused CONNECT, subscription and publication. */
  onRefused(listener: (refusal: AccessRefusal) => void): () => void;
  /** Calls back for publications that were acknowledged and discarded, once a minute per sender and reason. */
  onPublicationRefused(listener: (refused: RefusedPublication) => void): () => void;
  /** Calls back for each command and broadcast of a client, accepted or not. */
  onCarriedOut(listener: (act: AuditedAct) => void): () => void;
  /** The topics below this one that have a retained message. */
  retainedBelow(topic: string): readonly string[];
  /** The authenticated clients. */
  clients(): readonly ClientAccess[];
  /**
   * Closes the connections of the matching clients, whose permissions have ended. Wills of these clients that are
   * commands, broadcasts or outside the root are not published. @returns how many
   */
  disconnect(matches: (client: ClientAccess) => boolean): number;
  /**
   * Discards the sessions and queues of devices that were removed or have another secret, and of users whose tokens are
   * revoked, connected or not. @returns how many. Never rejects.
   */
  discardEnded(): Promise<number>;
  stats(): BrokerStats;
  /** Closes all connections and the store in under 2 s. Keeps the wills in the store without publishing them. */
  stop(): Promise<void>;
}

/**
 * Starts the MQTT broker: storage and Aedes, but no listener yet.
 * @throws {StorageError} @throws {StoreUnusableError}
 */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const { config, tree, devices, redis, onDamage, logger, now = Date.now } = options;
  const permissionSets = new PermissionSets(options);
  const registry = new ClientRegistry(logger);
  const hasEnded = endedIdentities({ devices, isRevoked: options.isRevoked ?? (() => false) });
  const wills = new Wills(({ key, bearer }) => hasEnded(bearer) || isConnectedUnderNewKey(registry, key, bearer));
  const storageOptions = {
    permissionsOf: (permissions: readonly string[]) => permissionSets.of(permissions),
    wantsReceipt: (topic: string) => tree.parse(topic)?.kind === "camera-command",
    takeReceipt: (client: object, messageId: number) => registry.find(client)?.receipts?.take(messageId),
    wasForwarded: (client: object, brokerCounter: number) => registry.find(client)?.lastForwarded === brokerCounter,
    ...config,
    ...{ wills, now, logger },
  };
  const cluster = redis && (await openRedisStorage({ ...storageOptions, redis }));
  const path = join(config.dataPath, "mqtt");
  const storage = cluster ?? (await openLevelStorage({ ...storageOptions, path, onDamage }));
  const broker = new EmbeddedBroker(
    composed({ ...options, now }, { storage, cluster, permissionSets, registry, wills, hasEnded }),
  );
  try {
    await broker.start();
  } catch (error) {
    await storage.destroy();
    throw error;
  }
  return broker;
}

/** Wills of earlier versions are stored under the client id alone, so a reconnect does not remove them. */
function isConnectedUnderNewKey(registry: ClientRegistry, key: string, { identity }: Bearer): boolean {
  return reservedFor(key) === undefined && registry.identityAt(sessionKey(identity, key)) === identity;
}

interface Foundation {
  storage: BrokerStorage;
  /** The same storage when it is shared with other nodes; undefined for a single node. */
  cluster: RedisStorage | undefined;
  permissionSets: PermissionSets;
  registry: ClientRegistry;
  wills: Wills;
  hasEnded(bearer: Bearer): boolean;
}

type Parts = ReturnType<typeof composed>;

/** Creates the parts of the broker, each from the parts created before. */
function composed(options: BrokerOptions & { now(): number }, foundation: Foundation) {
  const { config, tree, devices, ingest, addresses = PEER_ADDRESSES, now, logger } = options;
  const { storage, cluster, permissionSets, registry, wills, hasEnded } = foundation;
  const maxPacketBytes = config.maxPayloadBytes + PACKET_OVERHEAD_BYTES;
  const limits = { maxConnectBytes: config.maxConnectBytes, maxPacketBytes, maxFilters: config.maxSubscriptions };
  const refusals = new Listeners<[AccessRefusal]>(logger);
  const acts = new Listeners<[AuditedAct]>(logger);
  const deliveries = new Listeners<[Delivery]>(logger);
  const onRefused = (refusal: AccessRefusal) => refusals.call(refusal);

  const aedes = new ForwardingBroker(aedesOptions(storage, { ...config, maxClientIdLength: MAX_CLIENT_ID_LENGTH }));
  const handle = aedes.handle.bind(aedes);
  const admission = new Admission({ ...config, onRefused, logger });
  const connections = new Connections({ ...config, admission, registry, handle, limits });
  const originOf = (client: Client) => connections.originOf(client);
  const connectRefusals = new ConnectRefusals({ devices, onRefused, logger });
  const willAdmission = new WillAdmission({ ...config, wills, onRefused, logger });
  const authenticate = new Authenticate({
    ...config,
    ...{ permissionSets, registry, hasEnded, originOf, sessions: storage, wills: willAdmission },
    ...{ verifyToken: options.verifyToken, devices, refusals: connectRefusals },
  });
  const refusedPublications = new RefusedPublications(logger);
  const gate = new IngestGate({
    broker: aedes,
    ingest,
    unavailableReason: () => cluster?.unavailableReason,
    isIncoming: (clientId, messageId) => storage.isIncoming(clientId, messageId),
    refusedPublications,
    logger,
  });
  // A function, not a constant: the Redis storage replaces its topics after Redis has lost data.
  const retainedTopics = () => storage.retained.topics;
  const publishing = new AuthorizePublish({
    ...config,
    ...{ tree, registry, wills, broker: aedes, gate, refusedPublications, retainedTopics, onRefused },
    isRemoved: (identity) => {
      const device = deviceIdentity(identity);
      return device !== undefined && devices.get(device.id) === undefined;
    },
    onCarriedOut: (act) => acts.call(act),
  });
  const subscribing = new AuthorizeSubscribe({
    ...config,
    ...{ registry, retainedTopics, onRefused, logger },
    removeSubscription: (client, filter) => {
      storage.removeSubscriptions(client, [filter]).catch((error: unknown) => {
        logger.error({ err: error }, "refused subscription could not be removed from the session");
      });
    },
  });
  const forwarding = new AuthorizeForward({
    ...config,
    ...{ tree, registry, logger },
    isDeliveredFromQueue: (client, brokerCounter) => storage.isDeliveredFromQueue(client, brokerCounter),
    isNewestRetained: (topic, payload) => storage.retained.isNewest(topic, payload),
  });
  const takeOvers = cluster && new TakeOvers({ registry, announce: (client) => cluster.announce(client) });
  const lifecycle = new ClientLifecycle({
    ...config,
    ...{ registry, takeOvers, originOf, logger },
    bar: (client, access) => publishing.bar(client, access),
    sessionLeft: (key) => storage.left(key),
  });
  const cleanup = new SessionCleanup({
    ...config,
    ...{ storage, registry, devices, hasEnded, now, logger },
    disconnect: (matches) => lifecycle.disconnect(matches),
  });
  return {
    ...{ config, addresses, logger, registry, storage, cluster, refusals, acts, deliveries, aedes, maxPacketBytes },
    ...{ admission, connections, connectRefusals, willAdmission, authenticate, refusedPublications, gate },
    ...{ publishing, subscribing, forwarding, takeOvers, lifecycle, cleanup },
  };
}

class EmbeddedBroker implements Broker {
  readonly #parts: Parts;
  #listeners: OpenListeners | undefined;
  #stopping: Promise<void> | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async start(): Promise<void> {
    const { aedes, registry, cluster, connections, takeOvers, lifecycle, cleanup, logger } = this.#parts;
    cluster?.listen({
      onClient: (client) => takeOvers?.announced(client),
      // The clients may have missed messages. They reconnect immediately and resume their sessions.
      onMissed: () => {
        for (const [client] of [...registry.entries()]) client.close();
      },
    });
    aedes.preConnect = this.#parts.authenticate.preConnect;
    aedes.authenticate = this.#parts.authenticate.authenticate;
    aedes.authorizePublish = this.#parts.publishing.hook;
    aedes.authorizeSubscribe = this.#parts.subscribing.hook;
    aedes.authorizeForward = this.#parts.forwarding.hook;
    aedes.on("connackSent", ({ returnCode }, client) => {
      if (returnCode === 0) connections.accepted(client.conn);
    });
    aedes.on("client", lifecycle.connected);
    aedes.on("clientError", lifecycle.failed);
    aedes.on("connectionError", lifecycle.failed);
    aedes.on("unsubscribe", (filters, client) => {
      for (const filter of filters) registry.get(client)?.filters.delete(filter);
    });
    aedes.on("ack", (packet, client) => this.#acknowledged(packet, client));
    aedes.addListener("error", (error) => logger.error({ err: error }, "MQTT broker failed"));
    await aedes.listen();
    cleanup.start();
  }

  get ports(): Ports {
    return this.#listeners?.ports ?? {};
  }

  async listen(): Promise<void> {
    const { connections } = this.#parts;
    this.#listeners ??= await openListeners({ ...this.#parts, onConnection: connections.open });
  }

  stopListening(): void {
    this.#listeners?.close();
  }

  publish({ topic, payload, qos, retain }: OutgoingPublication): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#parts.aedes.publish({ cmd: "publish", topic, payload, qos, retain, dup: false }, (error) => {
        if (error) reject(error);
        else resolve();
      });
    });
  }

  connected(identity: string): boolean {
    return this.#parts.registry.connections(identity) > 0;
  }

  onDelivered(listener: (delivery: Delivery) => void): () => void {
    return this.#parts.deliveries.add(listener);
  }

  onTakeOver(listener: (takeOver: TakeOver) => void): () => void {
    return this.#parts.registry.takeOvers.add(listener);
  }

  onRefused(listener: (refusal: AccessRefusal) => void): () => void {
    return this.#parts.refusals.add(listener);
  }

  onPublicationRefused(listener: (refused: RefusedPublication) => void): () => void {
    return this.#parts.refusedPublications.reports.add(listener);
  }

  onCarriedOut(listener: (act: AuditedAct) => void): () => void {
    return this.#parts.acts.add(listener);
  }

  retainedBelow(topic: string): readonly string[] {
    return this.#parts.storage.retained.topics.match(`${topic}/#`);
  }

  clients(): readonly ClientAccess[] {
    return [...this.#parts.registry.entries()].map(([, access]) => access);
  }

  disconnect(matches: (client: ClientAccess) => boolean): number {
    return this.#parts.lifecycle.disconnect(matches);
  }

  discardEnded(): Promise<number> {
    return this.#parts.cleanup.discardEnded();
  }

  stats(): BrokerStats {
    const { registry, storage, admission, connectRefusals, gate, publishing, forwarding } = this.#parts;
    const { messages, bytes } = storage.queues.totals;
    return {
      clients: registry.size,
      connections: admission.connections,
      refusedConnections: admission.refused,
      refusedClients: connectRefusals.count,
      refusedDevices: connectRefusals.devices.list(),
      received: publishing.received,
      refusedSubscriptions: this.#parts.subscribing.refused,
      delivered: forwarding.delivered,
      shed: forwarding.shed,
      slowClients: forwarding.slowClients,
      refusedPublishes: this.#parts.refusedPublications.count,
      notAccepted: gate.notAccepted,
      sessions: storage.sessions,
      retainedMessages: storage.retained.topics.size,
      refusedRetained: storage.retained.refused + publishing.refusedRetained,
      offlineMessages: messages,
      offlineBytes: bytes,
      droppedOfflineMessages: storage.queues.dropped,
    };
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    const { aedes, admission, gate, lifecycle, refusedPublications, storage } = this.#parts;
    lifecycle.stop();
    this.#parts.cleanup.stop();
    this.stopListening();
    this.#parts.connectRefusals.stop();
    this.#parts.willAdmission.stop();
    this.#parts.publishing.stop();
    this.#parts.subscribing.stop();
    await until(() => gate.pending === 0 && aedes.unfinished === 0, STOP_DRAIN_MS);
    let closed = false;
    aedes.close(() => {
      closed = true;
    });
    await until(() => closed, STOP_CLOSE_MS);
    admission.destroyAll();
    refusedPublications.stop();
    await storage.destroy();
  }

  #acknowledged(packet: unknown, client: Client): void {
    const message = acknowledgedMessage(packet);
    const identity = this.#parts.registry.get(client)?.identity;
    if (message !== undefined && identity !== undefined) this.#parts.deliveries.call({ identity, ...message });
  }
}

/**
 * Resolves when the condition holds, or after the timeout. Counts polls instead of reading the clock, so that time
 * during which the process is suspended is not included.
 */
async function until(condition: () => boolean, timeoutMs: number): Promise<void> {
  for (let left = timeoutMs; !condition() && left > 0; left -= POLL_MS)
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
}

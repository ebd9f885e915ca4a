import type { Duplex } from "node:stream";
import type { Logger } from "pino";
import type { CustomChannels } from "../contract/channels.ts";
import { sharedFilterOf } from "../contract/shares.ts";
import { MAX_TOPIC_LENGTH, type TopicTree } from "../contract/topics.ts";
import type { ClientAddresses } from "../platform/client-addresses.ts";
import type { AccessRefusal, AuditedAct, Bearer } from "../platform/identity.ts";
import type { OnDamage } from "../platform/level/damage.ts";
import { Listeners } from "../platform/listeners.ts";
import type { LoggedPublication, MqttLog } from "../platform/publication-log.ts";
import type { Delivery, Ingest, OutgoingPublication, RefusedPublication, TakeOver } from "../platform/publications.ts";
import type { RedisConnections } from "../platform/redis/connections.ts";
import { Admission } from "./access/admission.ts";
import { Authenticate } from "./access/authenticate.ts";
import { AuthorizeForward } from "./access/authorize-forward.ts";
import { AuthorizePublish } from "./access/authorize-publish.ts";
import { AuthorizeSubscribe } from "./access/authorize-subscribe.ts";
import type { BrokerClient } from "./access/broker-client.ts";
import { ClientLifecycle } from "./access/client-lifecycle.ts";
import { type ClientAccess, ClientRegistry } from "./access/client-registry.ts";
import { MAX_CLIENT_ID_LENGTH } from "./access/connect-packet.ts";
import { ConnectRefusals } from "./access/connect-refusals.ts";
import type { VerifyPassword, VerifyToken } from "./access/credentials.ts";
import type { Devices } from "./access/devices.ts";
import { deviceIdentity, endedIdentities } from "./access/ended-identities.ts";
import { PermissionSets } from "./access/permission-sets.ts";
import type { RefusedDevice } from "./access/refused-devices.ts";
import { RefusedPublications } from "./access/refused-publications.ts";
import { reservedFor, sessionKey, sessionName } from "./access/session-names.ts";
import { WillAdmission } from "./access/will-admission.ts";
import { Wills } from "./access/wills.ts";
import { acknowledgedMessage } from "./aedes/delivery-receipts.ts";
import { ForwardingBroker } from "./aedes/forwarding-broker.ts";
import { aedesOptions } from "./aedes/options.ts";
import { QosZeroBus } from "./cluster/redis-qos-zero.ts";
import type { BrokerConfig } from "./config.ts";
import { IngestGate } from "./ingest-gate.ts";
import { Connections } from "./listeners/connections.ts";
import { type OpenListeners, openListeners, PEER_ADDRESSES, type Ports } from "./listeners/listeners.ts";
import { Mqtt5 } from "./mqtt5/mqtt5.ts";
import { openLogStorage } from "./sessions/log-storage.ts";
import { SessionCleanup } from "./sessions/session-cleanup.ts";
import type { BrokerStorage } from "./sessions/storage.ts";

/** The bytes of a PUBLISH besides its payload: header, topic length, message id, topic (up to 3 bytes a character). */
const PACKET_OVERHEAD_BYTES = 16 + 3 * MAX_TOPIC_LENGTH;
/** The most bytes of properties in a packet, whatever `MAX_MQTT_PROPERTIES_BYTES` allows. */
const MAX_PROPERTIES_BYTES = 262_144;
/** {@link Broker.stop} waits this long for unfinished publications, and then for clients to close. */
const STOP_DRAIN_MS = 700;
const STOP_CLOSE_MS = 700;
const POLL_MS = 10;

interface BrokerOptions {
  config: BrokerConfig;
  tree: TopicTree;
  channels: CustomChannels;
  verifyToken: VerifyToken;
  /** Default: the passwords of accounts are not accepted. */
  verifyPassword?: VerifyPassword | undefined;
  devices: Devices;
  /** Whether the bearer's token, or the login that it comes from, is revoked. Ignores expiry. Default: never. */
  isRevoked?(bearer: Bearer): boolean;
  ingest: Ingest;
  /** Finds a client's address behind trusted proxies, for MQTT over WebSocket. Default: the peer's address. */
  addresses?: ClientAddresses;
  /** Connects this node with others: messages of QoS 0. Default: a single node. */
  redis?: RedisConnections;
  /** The log in the journal's store, where sessions, retained messages and wills are kept too. */
  mqttLog: MqttLog;
  /** Called when the store is found to be damaged, which is also logged. */
  onDamage?: OnDamage;
  /** The clock by which sessions expire, in milliseconds since 1970. Default: `Date.now`. */
  now?: () => number;
  /** The clock by which tokens expire, in milliseconds since 1970. Default: `Date.now`. */
  tokenNow?: () => number;
  logger: Logger;
}

/** Counts since the start, and current sizes. */
interface BrokerStats {
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
  /** Publications that were acknowledged, and discarded or not retained. */
  refusedPublishes: number;
  /** Publications that could not be made durable and were not acknowledged. */
  notAccepted: number;
  sessions: number;
  retainedMessages: number;
  /** Publications that were not retained because of a limit. */
  refusedRetained: number;
  /** Messages in the queues of persistent sessions. */
  offlineMessages: number;
  offlineBytes: number;
  /** Messages dropped from full queues. */
  droppedOfflineMessages: number;
  /** Groups of shared subscriptions, and their members. */
  shareGroups: number;
  shareMembers: number;
  /** Messages that wait for a member of a group, or for a member's acknowledgement. */
  shareBacklog: number;
}

/** Each `on…` method returns a function that removes the listener. */
export interface Broker {
  /** Opens the listeners. @throws {ListenError} the message names the variable, the port and the remedy */
  listen(): Promise<void>;
  /** Open connections stay open. Idempotent. */
  stopListening(): void;
  /** Empty before {@link listen}. */
  readonly ports: Ports;
  /** Publishes without access rules and ingest. Resolves when subscribers and queues have the message. */
  publish(publication: OutgoingPublication): Promise<void>;
  connected(identity: string): boolean;
  /** Calls back when a device has acknowledged a command. */
  onDelivered(listener: (delivery: Delivery) => void): () => void;
  onTakeOver(listener: (takeOver: TakeOver) => void): () => void;
  /** Calls back for each connection beyond a limit, and for each refused CONNECT, subscription and publication. */
  onRefused(listener: (refusal: AccessRefusal) => void): () => void;
  /** Calls back once a minute per sender and reason, for publications that were acknowledged and discarded. */
  onPublicationRefused(listener: (refused: RefusedPublication) => void): () => void;
  /** Calls back for each command and broadcast of a client, accepted or not. */
  onCarriedOut(listener: (act: AuditedAct) => void): () => void;
  /** The topics with a retained message below this topic. */
  retainedBelow(topic: string): readonly string[];
  clients(): readonly ClientAccess[];
  /** Closes the connections of the matching clients, whose permissions have ended. @returns how many */
  disconnect(matches: (client: ClientAccess) => boolean): number;
  /** Discards the sessions of removed devices, changed secrets and revoked tokens. @returns how many. Never rejects. */
  discardEnded(): Promise<number>;
  stats(): BrokerStats;
  /** Closes all connections and the store in under 2 s. Wills stay in the store and are not published. */
  stop(): Promise<void>;
}

/** Opens the store and starts Aedes, but no listener. @throws {StorageError} @throws {StoreUnusableError} */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const parts = await composed(options);
  try {
    await startAedes(parts);
    parts.cleanup.start();
  } catch (error) {
    parts.bus?.close();
    await parts.storage.destroy();
    throw error;
  }
  return brokerOf(parts);
}

/**
 * Whether the client of a will that an earlier version stored has reconnected. Earlier versions stored wills under the
 * client id alone, so a reconnect does not remove such a will.
 */
function isConnectedUnderNewKey(registry: ClientRegistry, key: string, { identity }: Bearer): boolean {
  return reservedFor(key) === undefined && registry.identityAt(sessionKey(identity, key)) === identity;
}

/** The store asks these functions about connections, and closes connections by them. */
function ofRegistry(registry: ClientRegistry) {
  return {
    isConnected: (key: string) => registry.identityAt(key) !== undefined,
    closeClients: (key: string | undefined, isReplaced = false) => {
      const why = isReplaced ? "it has connected to another node" : "its session has ended, or has missed messages";
      registry.closeOlder(key, why, isReplaced);
    },
  };
}

type Parts = Awaited<ReturnType<typeof composed>>;

async function composed(options: BrokerOptions) {
  const { config, tree, devices, ingest, redis, mqttLog, onDamage, logger } = options;
  const { addresses = PEER_ADDRESSES, isRevoked = () => false, now = Date.now } = options;
  const permissionSets = new PermissionSets(options);
  const registry = new ClientRegistry(logger);
  const hasEnded = endedIdentities({ devices, isRevoked });
  const wills = new Wills(({ key, bearer }) => hasEnded(bearer) || isConnectedUnderNewKey(registry, key, bearer));
  const wantsReceipt = (topic: string) => tree.parse(topic)?.kind === "camera-command";
  const storageOptions = {
    permissionsOf: (permissions: readonly string[]) => permissionSets.of(permissions),
    wantsReceipt,
    takeReceipt: (client: object, messageId: number) => registry.find(client)?.receipts?.take(messageId),
    ...config,
    ...{ wills, now, logger },
  };
  const mayReceive = (client: object, { topic, payload }: LoggedPublication) =>
    registry.find(client)?.set.mayReceive(topic, payload) ?? false;
  const sharedDeliveries = { count: 0 };
  const onSharedSent = (client: object, qos: 0 | 1 | 2) => {
    sharedDeliveries.count++;
    const access = registry.find(client);
    if (access !== undefined) access.expectedAcks += qos;
  };
  const logged = { log: mqttLog, mayReceive, onSharedSent, onDamage, ...ofRegistry(registry) };
  const storage: BrokerStorage = await openLogStorage({ ...storageOptions, ...logged });

  const maxPacketBytes = config.maxPayloadBytes + PACKET_OVERHEAD_BYTES;
  const maxMqtt5PacketBytes = maxPacketBytes + Math.min(config.maxPropertiesBytes, MAX_PROPERTIES_BYTES);
  const { maxConnectBytes, maxSubscriptions: maxFilters } = config;
  const limits = { maxConnectBytes, maxPacketBytes, maxMqtt5PacketBytes, maxFilters };
  const refusals = new Listeners<[AccessRefusal]>(logger);
  const acts = new Listeners<[AuditedAct]>(logger);
  const deliveries = new Listeners<[Delivery]>(logger);
  const onRefused = (refusal: AccessRefusal) => refusals.call(refusal);

  const aedes = new ForwardingBroker(aedesOptions(storage, { ...config, maxClientIdLength: MAX_CLIENT_ID_LENGTH }));
  const handle = aedes.handle.bind(aedes);
  const admission = new Admission({ ...config, onRefused, logger });
  const handleMqtt5 = (connection: Duplex) => mqtt5.handle(connection);
  const connections = new Connections({ ...config, admission, registry, handle, handleMqtt5, limits });
  const originOf = (client: BrokerClient) => connections.originOf(client);
  const connectRefusals = new ConnectRefusals({ devices, onRefused, logger });
  const willAdmission = new WillAdmission({ ...config, wills, onRefused, logger });
  const authenticate = new Authenticate({
    ...config,
    ...{ permissionSets, registry, hasEnded, originOf, sessions: storage, wills: willAdmission },
    ...{ verifyToken: options.verifyToken, verifyPassword: options.verifyPassword, devices, refusals: connectRefusals },
  });
  const refusedPublications = new RefusedPublications(logger);
  const gate = new IngestGate({
    ...{ broker: aedes, ingest, refusedPublications, logger, log: mqttLog },
    isIncoming: (clientId, messageId) => storage.isIncoming(clientId, messageId),
  });
  // A function, because the storage replaces this object when it loads the retained messages again.
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
    liveSince: () => storage.retained.newest,
    isSubscribed: (client, filter) => storage.isSubscribed(client.id, filter),
    addSubscription: (client, filter, qos) => storage.subscribe(client.id, filter, { qos }),
    shareProblem: (identity, shared) => storage.shares.problem(identity, shared),
    subscribeShared: (client, identity, shared, options) => storage.subscribeShared(client, identity, shared, options),
    subscribeSession: (subscription, task) => aedes.subscribeSession(subscription, task),
    removeSubscription: (client, filter) => {
      const onFailed = (error: unknown) => {
        logger.error(
          { err: error, ...sessionName(client.id) },
          "refused subscription could not be removed from the session",
        );
      };
      storage.removeSubscriptions(client, [filter]).then(() => {}, onFailed);
    },
  });
  const forwarding = new AuthorizeForward({
    ...config,
    ...{ tree, registry, logger, deliveries: storage.deliveries },
    retainedPosition: (topic, payload) => storage.retained.positionOf(topic, payload),
  });
  const { brokerId } = storage;
  const bus = redis && new QosZeroBus({ redis, brokerId, onPacket: (packet) => aedes.deliver(packet), logger });
  if (bus !== undefined) aedes.shareQosZero(bus);
  aedes.shareUnlogged((publication, id) => storage.shares.sendUnlogged(publication, id));
  const lifecycle = new ClientLifecycle({
    ...config,
    ...{ registry, originOf, tokenNow: options.tokenNow ?? Date.now, logger },
    bar: (client, access) => publishing.bar(client, access),
    sessionLeft: (key) => storage.left(key),
  });
  const cleanup = new SessionCleanup({
    ...config,
    ...{ storage, registry, devices, hasEnded, now, logger },
    disconnect: (matches) => lifecycle.disconnect(matches),
  });
  const mqtt5 = new Mqtt5({
    ...config,
    ...{ broker: aedes, registry, authenticate, publishing, subscribing, forwarding, lifecycle, connections, storage },
    ...{ wills, wantsReceipt, maxPacketBytes: maxMqtt5PacketBytes, now, logger },
    onDelivered: (delivery) => deliveries.call(delivery),
  });
  return {
    ...{
      config,
      addresses,
      logger,
      registry,
      storage,
      mqttLog,
      bus,
      refusals,
      acts,
      deliveries,
      aedes,
      maxPacketBytes,
      now,
    },
    ...{ admission, connections, connectRefusals, willAdmission, authenticate, refusedPublications, gate },
    ...{ publishing, subscribing, forwarding, lifecycle, cleanup, sharedDeliveries, mqtt5 },
  };
}

/** Installs the hooks of Aedes and starts it. */
async function startAedes(parts: Parts): Promise<void> {
  const { aedes, registry, storage, connections, lifecycle, logger } = parts;
  registry.unused.add((key) => storage.release(key));
  aedes.preConnect = parts.authenticate.preConnect;
  aedes.authenticate = parts.authenticate.authenticate;
  aedes.authorizePublish = parts.publishing.hook;
  aedes.authorizeSubscribe = parts.subscribing.hook;
  aedes.authorizeForward = parts.forwarding.hook;
  aedes.on("connackSent", ({ returnCode }, client) => {
    if (returnCode !== 0) return;
    connections.accepted(client.conn);
    const access = registry.get(client);
    if (access !== undefined) access.isAccepted = true;
  });
  aedes.on("client", lifecycle.connected);
  aedes.on("clientError", lifecycle.failed);
  aedes.on("connectionError", lifecycle.failed);
  aedes.on("unsubscribe", (filters, client) => {
    const access = registry.get(client);
    for (const filter of filters) {
      access?.filters.delete(filter);
      const shared = sharedFilterOf(filter);
      if (access !== undefined && shared !== undefined && client.clean)
        storage.shares.unsubscribe(client.id, access.identity, shared);
    }
  });
  aedes.on("ack", (packet, client) => {
    const message = acknowledgedMessage(packet);
    const identity = registry.get(client)?.identity;
    if (message !== undefined && identity !== undefined) parts.deliveries.call({ identity, ...message });
  });
  aedes.addListener("error", (error) => logger.error({ err: error }, "MQTT broker failed"));
  await aedes.listen();
  storage.startWills(
    (will) =>
      new Promise((resolve) => {
        parts.publishing.hook(null, will, () => aedes.publish(will, () => resolve()));
      }),
  );
  aedes.follow(parts.mqttLog.publications, parts.now);
}

function brokerOf(parts: Parts): Broker {
  const { aedes, registry, storage, lifecycle, cleanup, connections } = parts;
  let listeners: OpenListeners | undefined;
  let stopping: Promise<void> | undefined;
  const stopListening = () => listeners?.close();
  return {
    stopListening,
    get ports() {
      return listeners?.ports ?? {};
    },
    async listen() {
      listeners ??= await openListeners({ ...parts, onConnection: connections.open });
    },
    async publish({ topic, payload, qos, retain, fence }) {
      if (qos > 0 || retain) {
        await parts.mqttLog.append({ topic, payload, qos, retain, fence });
        return;
      }
      await new Promise<void>((resolve, reject) => {
        aedes.publish({ cmd: "publish", topic, payload, qos, retain, dup: false }, (error) => {
          if (error) reject(error);
          else resolve();
        });
      });
    },
    connected: (identity) => registry.connections(identity) > 0,
    onDelivered: (listener) => parts.deliveries.add(listener),
    onTakeOver: (listener) => registry.takeOvers.add(listener),
    onRefused: (listener) => parts.refusals.add(listener),
    onPublicationRefused: (listener) => parts.refusedPublications.reports.add(listener),
    onCarriedOut: (listener) => parts.acts.add(listener),
    retainedBelow: (topic) => storage.retained.topics.match(`${topic}/#`),
    clients: () => [...registry.entries()].map(([, access]) => access),
    disconnect: (matches) => lifecycle.disconnect(matches),
    discardEnded: () => cleanup.discardEnded(),
    stats: () => statsOf(parts),
    stop() {
      stopping ??= stopParts(parts, stopListening);
      return stopping;
    },
  };
}

function statsOf({ registry, storage, admission, connectRefusals, gate, publishing, forwarding, ...parts }: Parts) {
  const { messages, bytes } = storage.queues.totals;
  return {
    clients: registry.size,
    connections: admission.connections,
    refusedConnections: admission.refused,
    refusedClients: connectRefusals.count,
    refusedDevices: connectRefusals.devices.list(),
    received: publishing.received,
    refusedSubscriptions: parts.subscribing.refused,
    delivered: forwarding.delivered + parts.sharedDeliveries.count,
    shed: forwarding.shed,
    slowClients: forwarding.slowClients,
    refusedPublishes: parts.refusedPublications.count,
    notAccepted: gate.notAccepted,
    sessions: storage.sessions,
    retainedMessages: storage.retained.topics.size,
    refusedRetained: storage.retained.refused + publishing.refusedRetained,
    offlineMessages: messages,
    offlineBytes: bytes,
    droppedOfflineMessages: storage.queues.dropped,
    shareGroups: storage.shares.size,
    shareMembers: storage.shares.members,
    shareBacklog: storage.shareBacklog,
  };
}

async function stopParts(parts: Parts, stopListening: () => void): Promise<void> {
  const { aedes, admission, gate } = parts;
  parts.lifecycle.stop();
  parts.storage.stopWills();
  parts.cleanup.stop();
  stopListening();
  parts.connectRefusals.stop();
  parts.willAdmission.stop();
  parts.publishing.stop();
  parts.subscribing.stop();
  await until(() => gate.pending === 0, STOP_DRAIN_MS);
  let closed = false;
  aedes.close(() => {
    closed = true;
  });
  parts.mqtt5.stop();
  await until(() => closed && parts.mqtt5.open === 0, STOP_CLOSE_MS);
  admission.destroyAll();
  parts.refusedPublications.stop();
  parts.bus?.close();
  await parts.storage.destroy();
}

/**
 * Resolves when the condition holds or the timeout has passed. Time in which the process is suspended is not counted.
 */
async function until(condition: () => boolean, timeoutMs: number): Promise<void> {
  for (let left = timeoutMs; !condition() && left > 0; left -= POLL_MS)
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
}

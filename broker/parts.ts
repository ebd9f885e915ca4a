import type { Duplex } from "node:stream";
import type { Logger } from "pino";
import type { CustomChannels } from "../contract/channels.ts";
import { MAX_TOPIC_LENGTH, type TopicTree } from "../contract/topics.ts";
import type { ClientAddresses } from "../platform/client-addresses.ts";
import type { AccessRefusal, AuditedAct, Bearer } from "../platform/identity.ts";
import type { OnDamage } from "../platform/level/damage.ts";
import { Listeners } from "../platform/listeners.ts";
import type { LoggedPublication, MqttLog } from "../platform/publication-log.ts";
import type { Delivery, Ingest } from "../platform/publications.ts";
import type { RedisConnections } from "../platform/redis/connections.ts";
import { Admission } from "./access/admission.ts";
import { Authenticate } from "./access/authenticate.ts";
import { AuthorizeForward } from "./access/authorize-forward.ts";
import { AuthorizePublish } from "./access/authorize-publish.ts";
import { AuthorizeSubscribe } from "./access/authorize-subscribe.ts";
import type { BrokerClient } from "./access/broker-client.ts";
import { ClientLifecycle } from "./access/client-lifecycle.ts";
import { ClientRegistry } from "./access/client-registry.ts";
import { MAX_CLIENT_ID_LENGTH } from "./access/connect-packet.ts";
import { ConnectRefusals } from "./access/connect-refusals.ts";
import type { VerifyPassword, VerifyToken } from "./access/credentials.ts";
import type { Devices } from "./access/devices.ts";
import { deviceIdentity, endedIdentities } from "./access/ended-identities.ts";
import { PermissionSets } from "./access/permission-sets.ts";
import { RefusedPublications } from "./access/refused-publications.ts";
import { reservedFor, sessionKey, sessionName } from "./access/session-names.ts";
import { WillAdmission } from "./access/will-admission.ts";
import { Wills } from "./access/wills.ts";
import { ForwardingBroker } from "./aedes/forwarding-broker.ts";
import { aedesOptions } from "./aedes/options.ts";
import { QosZeroBus } from "./cluster/redis-qos-zero.ts";
import type { BrokerConfig } from "./config.ts";
import { IngestGate } from "./ingest-gate.ts";
import { Connections } from "./listeners/connections.ts";
import { PEER_ADDRESSES } from "./listeners/listeners.ts";
import { Mqtt5 } from "./mqtt5/mqtt5.ts";
import { openLogStorage } from "./sessions/log-storage.ts";
import { SessionCleanup } from "./sessions/session-cleanup.ts";
import type { BrokerStorage } from "./sessions/storage.ts";

/** The bytes of a PUBLISH besides its payload: header, topic length, message id, topic (up to 3 bytes a character). */
const PACKET_OVERHEAD_BYTES = 16 + 3 * MAX_TOPIC_LENGTH;
/** The most bytes of properties in a packet, whatever `MAX_MQTT_PROPERTIES_BYTES` allows. */
const MAX_PROPERTIES_BYTES = 262_144;

export interface BrokerOptions {
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

/** The parts of a running broker. */
export type Parts = Awaited<ReturnType<typeof composed>>;

/** Opens the store and connects the parts. */
export async function composed(options: BrokerOptions) {
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

import { join } from "node:path";
import type { Duplex } from "node:stream";
import type { Client } from "aedes";
import type { Logger } from "pino";
import type { CustomChannels } from "../contract/channels.ts";
import { MAX_TOPIC_LENGTH, type TopicTree } from "../contract/topics.ts";
import type { ClientAddresses } from "../platform/client-addresses.ts";
import type { AccessRefusal, AuditedAct, Bearer, TokenIdentity } from "../platform/identity.ts";
import type { OnDamage } from "../platform/level/damage.ts";
import type { Delivery, Ingest, OutgoingPublication, RefusedPublication, TakeOver } from "../platform/publications.ts";
import type { RedisConnections } from "../platform/redis/connections.ts";
import { Admission, type Origin } from "./access/admission.ts";
import { Authenticate, MAX_CLIENT_ID_LENGTH } from "./access/authenticate.ts";
import { Authorize, type AuthorizeCounts } from "./access/authorize.ts";
import { type ClientAccess, ClientRegistry } from "./access/client-registry.ts";
import type { Devices } from "./access/devices.ts";
import { deviceIdentity, endedIdentities } from "./access/ended-identities.ts";
import { PermissionSets } from "./access/permission-sets.ts";
import type { RefusedDevice } from "./access/refused-devices.ts";
import { RefusedPublications } from "./access/refused-publications.ts";
import { reservedFor, sessionKey, sessionName } from "./access/session-names.ts";
import type { SessionOwner } from "./access/session-owner.ts";
import { TakeOvers } from "./access/take-overs.ts";
import { Wills } from "./access/wills.ts";
import { ConnectTimeoutError, isExpected, PacketRefusedError } from "./aedes/errors.ts";
import { ForwardingBroker } from "./aedes/forwarding-broker.ts";
import { watchLink } from "./aedes/link-watch.ts";
import type { BrokerConfig } from "./config.ts";
import { guardedIngest } from "./guarded-ingest.ts";
import { IngestGate } from "./ingest-gate.ts";
import { type Listeners, openListeners, PEER_ADDRESSES, type Ports } from "./listeners/listeners.ts";
import { paceReading } from "./listeners/paced-reading.ts";
import { openLevelStorage } from "./sessions/level/level.ts";
import { openRedisStorage, type RedisStorage } from "./sessions/redis/redis.ts";
import type { BrokerStorage } from "./sessions/storage.ts";

/** Fixed header, topic length and message id of a PUBLISH; a character of a topic has up to 3 bytes in UTF-8. */
const PACKET_OVERHEAD_BYTES = 16 + 3 * MAX_TOPIC_LENGTH;
/** Packets a client may send before its CONNACK. */
const MAX_EARLY_PACKETS = 100;
/** QoS 2 publications of one client between PUBREC and PUBREL. */
const MAX_INFLIGHT_QOS2 = 1000;
/** More levels in a topic end the connection. */
const MAX_LEVELS_OF_AEDES = 100;
const SESSION_SWEEP_MS = 3_600_000;
/** What {@link Broker.stop} gives to what is under way, and then to the closing of clients. */
const STOP_DRAIN_MS = 700;
const STOP_CLOSE_MS = 700;
const LOOK_EVERY_MS = 10;
/** `setTimeout` waits 1 ms for anything longer. */
const MAX_TIMER_MS = 2_147_483_647;

export interface BrokerOptions {
  config: BrokerConfig;
  tree: TopicTree;
  channels: CustomChannels;
  /** Throws, or rejects, when the token is not to be trusted. @throws {TokenUndecidedError} that is not known now */
  verifyToken(token: string): Promise<TokenIdentity> | TokenIdentity;
  devices: Devices;
  /** Whether the token that somebody came with, or the login it is from, is revoked; that it expires does not count. Default: none is. */
  isRevoked?(bearer: Bearer): boolean;
  ingest: Ingest;
  /** Sees the clients of MQTT over WebSocket through trusted proxies. Default: the peer is the client. */
  addresses?: ClientAddresses;
  /**
   * Where sessions, retained messages and wills are kept, for any number of brokers that serve as one. Default: in
   * LevelDB below `dataPath`, for this broker alone.
   */
  redis?: RedisConnections;
  /** Called when something of the store is found to be damaged. Default: the log alone says so. */
  onDamage?: OnDamage;
  /** The server's own clock, by which sessions age, milliseconds since 1970. Default: the system's. */
  now?: () => number;
  logger: Logger;
}

export interface BrokerStats extends AuthorizeCounts {
  /** Clients past their CONNECT. */
  clients: number;
  /** Open connections, authenticated or not. */
  connections: number;
  /** Connections turned away by a limit before CONNECT, since the start. */
  refusedConnections: number;
  /** CONNECTs answered with a refusal, since the start. */
  refusedClients: number;
  /** Registered devices that were refused and not let in since. */
  refusedDevices: readonly RefusedDevice[];
  /** Publications that were acknowledged and not kept, or not retained, since the start. */
  refusedPublishes: number;
  /** Publications that could not be made durable and were not acknowledged, since the start. */
  notAccepted: number;
  /** Sessions kept for clients that connect with clean session off. */
  sessions: number;
  retainedMessages: number;
  /** Not retained because there are too many, since the start. */
  refusedRetained: number;
  /** In the queues of persistent sessions. */
  offlineMessages: number;
  offlineBytes: number;
  /** Dropped from full queues, since the start. */
  droppedOfflineMessages: number;
}

export interface Broker {
  /** Opens the listeners. @throws {ListenError} naming the variable, the port and what to do */
  listen(): Promise<void>;
  /** Takes no more connections; those that are open stay. Idempotent. */
  stopListening(): void;
  /** Set by {@link listen}. */
  readonly ports: Ports;
  /** Publishes as the backend, past the rules and past ingest; resolves when subscribers and their queues have it. */
  publish(publication: OutgoingPublication): Promise<void>;
  /** Whether a client of the identity is connected. */
  connected(identity: string): boolean;
  /** Calls back when a device has acknowledged a command, whatever kind of session it has. */
  onDelivered(listener: (delivery: Delivery) => void): () => void;
  onTakeOver(listener: (takeOver: TakeOver) => void): () => void;
  /** Calls back for each connection beyond a limit, and each CONNECT, subscription and publication that the rules refuse. */
  onRefused(listener: (refusal: AccessRefusal) => void): () => void;
  /** Calls back for publications that were acknowledged and not kept, once a minute for each sender and reason. */
  onPublicationRefused(listener: (refused: RefusedPublication) => void): () => void;
  /** Calls back for each command and broadcast of a client, accepted or not. */
  onCarriedOut(listener: (act: AuditedAct) => void): () => void;
  /** The topics below this one that have a retained message, as far as this node knows. */
  retainedBelow(topic: string): readonly string[];
  /** The authenticated clients. */
  clients(): readonly ClientAccess[];
  /**
   * Ends the connections that match, such as those of a revoked token. A will of theirs that is a command, a broadcast or
   * outside the root is not published. @returns how many
   */
  disconnect(matches: (client: ClientAccess) => boolean): number;
  /**
   * Discards the sessions, with what is queued for them, of devices that were removed or given another secret, and of users
   * whose tokens are revoked, also where their clients are away. @returns how many. Never rejects
   */
  discardEnded(): Promise<number>;
  stats(): BrokerStats;
  /** Ends all connections and closes the store, in under 2 s. Wills are kept, not sent: it is the broker that goes. */
  stop(): Promise<void>;
}

/**
 * Starts the MQTT broker: storage and Aedes, but no listener yet.
 * @throws {StorageError} @throws {StoreUnusableError}
 */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const { config, tree, redis, onDamage, logger } = options;
  const permissionSets = new PermissionSets(options);
  const registry = new ClientRegistry();
  const hasEnded = endedIdentities({ devices: options.devices, isRevoked: options.isRevoked ?? (() => false) });
  const wills = new Wills(({ key, bearer }) => hasEnded(bearer) || isBackUnderNewName(registry, key, bearer));
  const storageOptions = {
    permissionsOf: (permissions: readonly string[]) => permissionSets.of(permissions),
    wantsReceipt: (topic: string) => tree.parse(topic)?.kind === "camera-command",
    takeReceipt: (client: object, messageId: number) => registry.find(client)?.receipts?.take(messageId),
    wasForwarded: (client: object, brokerCounter: number) => registry.find(client)?.lastForwarded === brokerCounter,
    wills,
    now: options.now ?? Date.now,
    ...config,
    logger,
  };
  const cluster = redis === undefined ? undefined : await openRedisStorage({ ...storageOptions, redis });
  const storage =
    cluster ?? (await openLevelStorage({ ...storageOptions, onDamage, path: join(config.dataPath, "mqtt") }));
  const broker = new EmbeddedBroker(options, { permissionSets, registry, wills, hasEnded, storage, cluster });
  try {
    await broker.start();
  } catch (error) {
    await storage.destroy();
    throw error;
  }
  return broker;
}

/** Versions that knew a client by its client id alone left wills under it, and do not see that it is back. */
function isBackUnderNewName(registry: ClientRegistry, key: string, { identity }: Bearer): boolean {
  return reservedFor(key) === undefined && registry.holderOf(sessionKey(identity, key)) === identity;
}

interface Parts {
  permissionSets: PermissionSets;
  registry: ClientRegistry;
  wills: Wills;
  hasEnded(bearer: Bearer): boolean;
  storage: BrokerStorage;
  /** The same, when it is shared with other nodes. */
  cluster: RedisStorage | undefined;
}

class EmbeddedBroker implements Broker {
  readonly #config: BrokerConfig;
  readonly #addresses: ClientAddresses;
  readonly #devices: Devices;
  readonly #now: () => number;
  readonly #logger: Logger;
  readonly #parts: Parts;
  readonly #aedes: ForwardingBroker;
  readonly #admission: Admission;
  readonly #authenticate: Authenticate;
  readonly #authorize: Authorize;
  readonly #gate: IngestGate;
  readonly #refused: RefusedPublications;
  readonly #takeOvers: TakeOvers | undefined;
  readonly #origins = new WeakMap<Duplex, Origin>();
  readonly #deadlines = new WeakMap<Duplex, NodeJS.Timeout>();
  readonly #earlyWatches = new WeakMap<Duplex, () => void>();
  readonly #ended = new WeakSet<Client>();
  readonly #expiries = new WeakMap<Client, NodeJS.Timeout>();
  readonly #refusalListeners = new Set<(refusal: AccessRefusal) => void>();
  readonly #actListeners = new Set<(act: AuditedAct) => void>();
  readonly #deliveryListeners = new Set<(delivery: Delivery) => void>();
  #listeners: Listeners | undefined;
  #sweep: NodeJS.Timeout | undefined;
  #endDevices = () => {};
  #stopping: Promise<void> | undefined;

  constructor(options: BrokerOptions, parts: Parts) {
    const { config, tree, verifyToken, devices, ingest, addresses = PEER_ADDRESSES, logger } = options;
    const { registry, wills, hasEnded, storage, cluster, permissionSets } = parts;
    this.#config = config;
    this.#addresses = addresses;
    this.#devices = devices;
    this.#now = options.now ?? Date.now;
    this.#logger = logger;
    this.#parts = parts;
    const onRefused = (refusal: AccessRefusal) => {
      for (const listener of this.#refusalListeners) listener(refusal);
    };
    this.#admission = new Admission({ ...config, onRefused, logger });
    const aedesOptions = {
      id: storage.brokerId,
      persistence: storage,
      heartbeatInterval: config.heartbeatMs,
      // Ours comes first, and covers more.
      connectTimeout: 2 * config.connectTimeoutMs,
      drainTimeout: config.drainTimeoutMs,
      queueLimit: MAX_EARLY_PACKETS,
      maxInflightInbound: MAX_INFLIGHT_QOS2,
      maxClientsIdLength: MAX_CLIENT_ID_LENGTH,
      // Ours refuse with an answer, at a sixth of this.
      maxTopicLevels: MAX_LEVELS_OF_AEDES,
    };
    this.#aedes = new ForwardingBroker(aedesOptions);
    this.#refused = new RefusedPublications(logger);
    this.#gate = new IngestGate({
      refused: this.#refused,
      broker: this.#aedes,
      ingest: cluster === undefined ? ingest : guardedIngest(ingest, () => cluster.unavailableReason),
      isIncoming: (clientId, messageId) => storage.isIncoming(clientId, messageId),
      logger,
    });
    if (cluster !== undefined)
      this.#takeOvers = new TakeOvers({ registry, announce: (client) => cluster.announce(client) });
    this.#authenticate = new Authenticate({
      onRefused,
      verifyToken,
      devices,
      permissionSets,
      registry,
      sessions: storage,
      wills,
      hasEnded,
      originOf: (client) => this.#originOf(client),
      ...config,
      logger,
    });
    this.#authorize = new Authorize({
      onRefused,
      onCarriedOut: (act) => {
        for (const listener of this.#actListeners) listener(act);
      },
      tree,
      registry,
      wills,
      isRemoved: (identity) => {
        const device = deviceIdentity(identity);
        return device !== undefined && devices.get(device.id) === undefined;
      },
      broker: this.#aedes,
      gate: this.#gate,
      refused: this.#refused,
      forgetSubscription: (client, filter) => {
        storage.removeSubscriptions(client, [filter]).catch((error: unknown) => {
          logger.error({ err: error }, "a subscription that is no longer allowed could not be removed");
        });
      },
      // Those of Redis are others when it was lost.
      retainedTopics: () => storage.retained.topics,
      isNewestRetained: (topic, payload) => storage.retained.isNewest(topic, payload),
      leavesToQueue: (client, brokerCounter) => storage.leavesToQueue(client, brokerCounter),
      ...config,
      logger,
    });
  }

  async start(): Promise<void> {
    const { registry, storage, cluster, hasEnded } = this.#parts;
    const aedes = this.#aedes;
    cluster?.listen({
      onClient: (client) => this.#takeOvers?.seen(client),
      // They have done nothing wrong, and come back at once.
      onMissed: () => {
        for (const [client] of [...registry.entries()]) client.close();
      },
    });
    aedes.preConnect = this.#authenticate.preConnect;
    aedes.authenticate = this.#authenticate.authenticate;
    aedes.authorizePublish = this.#authorize.publish;
    aedes.authorizeSubscribe = this.#authorize.subscribe;
    aedes.authorizeForward = this.#authorize.forward;
    aedes.on("client", (client) => this.#admitted(client));
    aedes.on("connackSent", ({ returnCode }, client) => {
      if (returnCode === 0) this.#met(client.conn);
    });
    aedes.on("unsubscribe", (filters, client) => {
      for (const filter of filters) registry.of(client)?.filters.delete(filter);
    });
    aedes.on("ack", (packet, client) => this.#delivered(packet, client));
    aedes.on("clientError", (client, error) => this.#failed(client, error));
    aedes.on("connectionError", (client, error) => this.#failed(client, error));
    aedes.addListener("error", (error) => this.#logger.error({ err: error }, "the MQTT broker failed at something"));
    this.#endDevices = this.#devices.onChange((id) => {
      const isIts = ({ identity }: Bearer) => deviceIdentity(identity)?.id === id;
      this.disconnect(isIts);
      // One of an earlier version does not say by which secret it was made.
      void this.#discard((owner) => isIts(owner) && (owner.issuedAt === undefined || hasEnded(owner)));
    });
    await aedes.listen();
    // Of those that were removed or revoked while no server ran.
    void this.discardEnded();
    const sweep = (): void => {
      const moment = this.#now() - this.#config.sessionHours * 3_600_000;
      storage
        .expire(moment, (key) => registry.holderOf(key) !== undefined)
        .then((expired) => {
          if (expired > 0) this.#logger.info({ expired }, "sessions that nobody came back to are discarded");
        })
        .catch((error: unknown) => this.#logger.error({ err: error }, "old sessions could not be discarded"));
    };
    sweep();
    this.#sweep = setInterval(sweep, SESSION_SWEEP_MS).unref();
  }

  get ports(): Ports {
    return this.#listeners?.ports ?? {};
  }

  async listen(): Promise<void> {
    this.#listeners ??= await openListeners({
      config: this.#config,
      addresses: this.#addresses,
      admission: this.#admission,
      maxPacketBytes: this.#maxPacketBytes,
      logger: this.#logger,
      onConnection: (connection, origin, request) => {
        if (!this.#admission.awaitConnack(connection, origin.address)) {
          connection.destroy();
          return;
        }
        this.#origins.set(connection, origin);
        this.#awaitConnack(connection);
        const client = this.#aedes.handle(connection, request);
        const { maxConnectBytes, maxSubscriptions } = this.#config;
        const stopWatching = paceReading(connection, {
          socket: request?.socket ?? connection,
          limits: { maxConnectBytes, maxPacketBytes: this.#maxPacketBytes, maxFilters: maxSubscriptions },
          clientOf: () => this.#parts.registry.of(client),
          // At once, before Aedes' parser finds something else wrong with the same bytes.
          onProblem: (problem) => client.emit("error", new PacketRefusedError(problem)),
        });
        this.#earlyWatches.set(connection, stopWatching);
      },
    });
  }

  stopListening(): void {
    this.#listeners?.close();
  }

  publish({ topic, payload, qos, retain }: OutgoingPublication): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#aedes.publish({ cmd: "publish", topic, payload, qos, retain, dup: false }, (error) => {
        if (error) reject(error);
        else resolve();
      });
    });
  }

  connected(identity: string): boolean {
    return this.#parts.registry.connections(identity) > 0;
  }

  onDelivered(listener: (delivery: Delivery) => void): () => void {
    this.#deliveryListeners.add(listener);
    return () => this.#deliveryListeners.delete(listener);
  }

  onTakeOver(listener: (takeOver: TakeOver) => void): () => void {
    return this.#parts.registry.onTakeOver(listener);
  }

  onRefused(listener: (refusal: AccessRefusal) => void): () => void {
    this.#refusalListeners.add(listener);
    return () => this.#refusalListeners.delete(listener);
  }

  onPublicationRefused(listener: (refused: RefusedPublication) => void): () => void {
    return this.#refused.onRefused(listener);
  }

  onCarriedOut(listener: (act: AuditedAct) => void): () => void {
    this.#actListeners.add(listener);
    return () => this.#actListeners.delete(listener);
  }

  retainedBelow(topic: string): readonly string[] {
    return this.#parts.storage.retained.topics.match(`${topic}/#`);
  }

  clients(): readonly ClientAccess[] {
    return [...this.#parts.registry.entries()].map(([, access]) => access);
  }

  disconnect(matches: (client: ClientAccess) => boolean): number {
    const matching = [...this.#parts.registry.entries()].filter(([, access]) => matches(access));
    for (const [client, access] of matching) {
      access.leavesBecause ??= "its token or secret was revoked, removed or changed";
      this.#authorize.bar(client, access);
      client.close();
    }
    return matching.length;
  }

  discardEnded(): Promise<number> {
    return this.#discard(this.#parts.hasEnded);
  }

  /** Never rejects: what is not discarded now is discarded at the next change, or when nobody has used it for long. */
  async #discard(matches: (owner: SessionOwner) => boolean): Promise<number> {
    try {
      const discarded = await this.#parts.storage.discardWhere(matches);
      if (discarded > 0) this.#logger.info({ discarded }, "sessions of ended identities are discarded");
      return discarded;
    } catch (error) {
      this.#logger.error({ err: error }, "sessions of ended identities could not be discarded");
      return 0;
    }
  }

  stats(): BrokerStats {
    const { registry, storage } = this.#parts;
    const { messages, bytes } = storage.queues.totals;
    return {
      clients: registry.size,
      connections: this.#admission.connections,
      refusedConnections: this.#admission.refused,
      refusedClients: this.#authenticate.refused,
      refusedDevices: this.#authenticate.refusedDevices.list(),
      notAccepted: this.#gate.notAccepted,
      ...this.#authorize.counts,
      refusedPublishes: this.#refused.count,
      sessions: storage.sessions,
      retainedMessages: storage.retained.topics.size,
      refusedRetained: storage.retained.refused + this.#authorize.refusedRetained,
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
    clearInterval(this.#sweep);
    this.#endDevices();
    this.#listeners?.close();
    this.#authenticate.stop();
    this.#authorize.stop();
    await until(() => this.#gate.accepting === 0 && this.#aedes.underWay === 0, STOP_DRAIN_MS);
    let closed = false;
    this.#aedes.close(() => {
      closed = true;
    });
    await until(() => closed, STOP_CLOSE_MS);
    this.#admission.destroyAll();
    this.#refused.stop();
    await this.#parts.storage.destroy();
  }

  get #maxPacketBytes(): number {
    return this.#config.maxPayloadBytes + PACKET_OVERHEAD_BYTES;
  }

  #originOf(client: Client): Origin {
    return this.#origins.get(client.conn) ?? { address: "unknown", transport: "tcp" };
  }

  /** Aedes' own time-out ends when CONNECT comes; an authentication that never answers would hold the connection for ever. */
  #awaitConnack(connection: Duplex): void {
    const { connectTimeoutMs } = this.#config;
    const deadline = setTimeout(() => {
      connection.destroy(new ConnectTimeoutError(`no CONNACK within ${connectTimeoutMs} ms`));
    }, connectTimeoutMs);
    this.#deadlines.set(connection, deadline);
    connection.once("close", () => clearTimeout(deadline));
  }

  #met(connection: Duplex): void {
    this.#admission.authenticated(connection);
    this.#earlyWatches.get(connection)?.();
    clearTimeout(this.#deadlines.get(connection));
  }

  #admitted(client: Client): void {
    const { registry, storage } = this.#parts;
    const access = registry.of(client);
    if (access === undefined) {
      // Its connection ended while it was let in.
      client.close();
      return;
    }
    registry.register(client);
    this.#takeOvers?.connected(client, access).catch((error: unknown) => {
      this.#logger.error({ err: error }, "other nodes could not be told of a client");
    });
    const { clientId, sessionKey: key, identity, address, transport, expiresAt, keepaliveS } = access;
    const { probe } = this.#originOf(client);
    if (keepaliveS === 0 && probe !== undefined) watchLink(client.conn, probe, this.#config.heartbeatMs);
    this.#logger.info({ clientId, identity, address, transport }, "a client is connected");
    if (expiresAt !== undefined) this.#closeAt(client, access, expiresAt);
    client.conn.once("close", () => {
      clearTimeout(this.#expiries.get(client));
      const isReplaced = registry.isReplaced(client, access);
      const why = access.leavesBecause ?? (this.#stopping !== undefined ? STOPPING : isReplaced ? REPLACED : CUT);
      this.#logger.info({ clientId, identity, why }, "client disconnected");
      if (!client.clean && this.#stopping === undefined) {
        storage.left(key).catch((error: unknown) => {
          this.#logger.error({ err: error, clientId }, "the end of a session could not be written");
        });
      }
    });
  }

  #closeAt(client: Client, access: ClientAccess, moment: number): void {
    const wait = Math.min(Math.max(0, moment - Date.now()), MAX_TIMER_MS);
    const close = (): void => {
      if (Date.now() < moment) this.#closeAt(client, access, moment);
      else {
        const { clientId, identity } = access;
        access.leavesBecause ??= "its token has expired";
        this.#logger.info({ clientId, identity }, "a client's token has expired");
        this.#authorize.bar(client, access);
        client.close();
      }
    };
    this.#expiries.set(client, setTimeout(close, wait));
  }

  #delivered(packet: unknown, client: Client): void {
    if (typeof packet !== "object" || packet === null || !("topic" in packet) || !("payload" in packet)) return;
    const { topic, payload } = packet;
    const identity = this.#parts.registry.of(client)?.identity;
    if (identity === undefined || typeof topic !== "string" || topic === "" || !Buffer.isBuffer(payload)) return;
    for (const listener of this.#deliveryListeners) listener({ identity, topic, payload });
  }

  /** An error of one connection ends that connection, and the first says why. What a rule said is in the log already, with its reason. */
  #failed(client: Client, error: Error): void {
    const access = this.#parts.registry.of(client);
    if (access !== undefined) access.leavesBecause ??= error.message;
    if (isExpected(error) || this.#ended.has(client)) return;
    this.#ended.add(client);
    const { address, transport } = this.#originOf(client);
    // Without an id before its CONNECT.
    const name = client.id === null ? {} : sessionName(client.id);
    this.#logger.info({ address, transport, ...name, why: error.message }, "a connection is ended");
  }
}

const STOPPING = "the server is stopping";
const REPLACED = "it has connected again under the same client id";
/** No FIN tells whether the program ended or its link. */
const CUT = "its connection was closed without DISCONNECT";

/** Resolves when the condition holds, or this process has run for so long: while it stood still, nobody was heard. */
async function until(condition: () => boolean, timeoutMs: number): Promise<void> {
  for (let left = timeoutMs; !condition() && left > 0; left -= LOOK_EVERY_MS)
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
}

import { Readable } from "node:stream";
import type { Brokers, Subscription } from "aedes";
import type { Logger } from "pino";
import type { RedisConnections } from "../../../platform/redis/connections.ts";
import type { NotKept } from "../../access/authenticate.ts";
import type { PermissionSet } from "../../access/permission-sets.ts";
import { sessionName } from "../../access/session-names.ts";
import type { SessionOwner } from "../../access/session-owner.ts";
import type { Wills } from "../../access/wills.ts";
import type { KeptPacket } from "../../aedes/packet-codec.ts";
import { RetryingConnection, StorageUnavailableError } from "../../cluster/redis-connection.ts";
import { type BrokerEmitter, RedisEmitter } from "../../cluster/redis-emitter.ts";
import { QosZeroBus } from "../../cluster/redis-qos-zero.ts";
import { Replays } from "../replays.ts";
import { type OutgoingUpdate, type Session, StorageError, type StoredPacket } from "../storage.ts";
import { KEY, limit, senderKey } from "./keys.ts";
import { LOG_ID, type LogEntry, MAX_LOG_BYTES, MAX_LOG_ENTRIES, MessageLog } from "./message-log.ts";
import { Nodes } from "./nodes.ts";
import { Publications } from "./publications.ts";
import { RedisQueues } from "./queues.ts";
import { RedisRetained } from "./retained.ts";
import { SessionStore } from "./session-store.ts";
import { KnownSessions } from "./sessions.ts";
import { StoredWills, type Will } from "./stored-wills.ts";
import { RedisWriter } from "./writer.ts";

/** How long the start of the broker waits for Redis. */
const START_TIMEOUT_MS = 5_000;
/** Pause before retrying after Redis has lost data, which the log is about to detect. */
const LOSS_PAUSE_MS = 50;
/** How long stopping waits for the last operations. */
const STOP_TIMEOUT_MS = 500;

export interface RedisStorageOptions {
  redis: RedisConnections;
  permissionsOf(permissions: readonly string[]): PermissionSet;
  /** Whether the acknowledgement of a message on this topic is reported. */
  wantsReceipt(topic: string): boolean;
  /** Returns such a message if it was sent to a client with a clean session, which has no stored queue. */
  takeReceipt(client: Session, messageId: number): unknown;
  /** Whether this was the last publication delivered to the client, through any of its subscriptions. */
  wasForwarded(client: Session, brokerCounter: number): boolean;
  wills: Wills;
  maxSessions: number;
  maxSessionsPerUser: number;
  maxSubscriptions: number;
  maxOfflineMessages: number;
  maxOfflineBytes: number;
  maxRetainedMessages: number;
  sessionHours: number;
  /** The clock by which sessions age, milliseconds since 1970. */
  now: () => number;
  heartbeatMs: number;
  logger: Logger;
}

/** Callbacks for events of other nodes. */
interface ClusterListener {
  /**
   * A client has connected to another node or to this one. `token` is the argument of {@link RedisStorage.announce}.
   */
  onClient(client: { here: boolean; token: string; clientId: string; identity: string }): void;
  /** Messages between the nodes were missed: all clients must reconnect. */
  onMissed(): void;
}

/**
 * MQTT sessions, retained messages, wills and the messages between nodes in Redis, for any number of nodes.
 *
 * It does not use aedes-persistence-redis (11.2.2), whose operations take several steps with inconsistent states in
 * between. The faults of that package:
 * - `outgoingStream` reads 1,001 messages of a queue and ignores the rest. Queues are unbounded, and with several nodes
 *   ordered by arrival. If a message's counter of readers misses a decrement, the message stays forever.
 * - `delWill` uses a field that Aedes does not set, so the will of a client that reconnected to another node is
 *   published. `putWill`, `delWill` and `outgoingStream` do not await some writes: without Redis the process crashes
 *   with an unhandled rejection.
 * - `addSubscriptions` stores refused filters. After a restart, QoS 0 subscriptions queue messages. Other nodes learn
 *   of a subscription from a message that can be lost, and then the SUBACK is never sent.
 * - `storeRetained` is not atomic with the delivery: of the messages of two nodes, one may be retained and the other
 *   delivered last. Every wildcard filter scans all retained messages.
 * - `incomingStorePacket` writes keys that are never removed.
 *
 * Here a publication is one step of `script.ts`: it gets its number, its entry in the log that all nodes follow, its
 * places in the queues, and becomes the retained message. The node finds these queues with its copy of the sessions.
 * The script rejects the publication when that copy is out of date, so a session that has received its SUBACK misses
 * nothing.
 */
export class RedisStorage {
  readonly #options: RedisStorageOptions;
  readonly #reader: RetryingConnection;
  readonly #publisher: RedisWriter;
  readonly #publications: Publications;
  readonly #changes: RedisWriter;
  readonly #removals: RedisWriter;
  readonly #log: MessageLog;
  readonly #known: KnownSessions;
  readonly #limits: readonly string[];
  readonly #sessions: SessionStore;
  readonly #replays: Replays;
  readonly #bus: QosZeroBus;
  readonly retained: RedisRetained;
  readonly queues: RedisQueues;
  #brokerId = "";
  #nodes: Nodes | undefined;
  #wills: StoredWills | undefined;
  #emitter: RedisEmitter | undefined;
  #listener: ClusterListener | undefined;

  constructor(options: RedisStorageOptions) {
    this.#options = options;
    const { redis, logger, maxOfflineMessages: maxMessages, maxOfflineBytes: maxBytes, wantsReceipt } = options;
    this.#known = new KnownSessions(options.permissionsOf);
    this.#limits = [options.maxRetainedMessages, MAX_LOG_ENTRIES, MAX_LOG_BYTES, maxMessages, maxBytes].map(limit);
    this.#reader = new RetryingConnection(redis, "mqtt-read", logger);
    this.#publisher = this.#writer("mqtt-publish");
    this.#changes = this.#writer("mqtt-sessions");
    this.#removals = this.#writer("mqtt-remove");
    const [sessions, removals, reader] = [this.#changes, this.#removals, this.#reader];
    this.queues = new RedisQueues({ sessions, removals, reader, maxMessages, maxBytes, wantsReceipt, logger });
    this.retained = new RedisRetained({ reader, maxMessages: options.maxRetainedMessages, logger });
    this.#publications = new Publications({ writer: this.#publisher, known: this.#known, retained: this.retained });
    this.#sessions = new SessionStore({
      ...options,
      known: this.#known,
      writer: this.#changes,
      reader,
      caughtUp: (change) => this.#caughtUp(change),
      unavailableReason: () => this.unavailableReason,
    });
    this.#log = new MessageLog({
      redis,
      onEntry: (entry) => this.#apply(entry),
      onGap: () => this.#reload(),
      logger,
    });
    this.#replays = new Replays({
      queues: this.queues,
      brokerId: () => LOG_ID,
      lastDispatched: () => this.#log.position,
    });
    this.#bus = new QosZeroBus({ redis, onPacket: (packet) => this.#emitter?.deliver(packet), logger });
  }

  /** An id of this run of this node that sorts after the ids of all earlier runs of any node. */
  get brokerId(): string {
    return this.#brokerId;
  }

  /** The number of persistent sessions of all nodes. */
  get sessions(): number {
    return this.#known.size;
  }

  /** Why no publication can be accepted; undefined when publications can be accepted. */
  get unavailableReason(): string | undefined {
    const why = this.#publisher.unavailableReason ?? this.#changes.unavailableReason ?? this.#log.unavailableReason;
    return why === undefined ? undefined : `the MQTT broker's store does not answer: ${why}`;
  }

  /** @throws {StorageError} Redis did not answer within 5 s */
  async load(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const why = this.#changes.lastError ?? "it did not answer";
        reject(
          new StorageError(
            `the MQTT broker cannot use Redis (${why}): check REDIS_URL, and that Redis runs and accepts writes`,
          ),
        );
      }, START_TIMEOUT_MS);
    });
    try {
      await Promise.race([this.#load(), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #load(): Promise<void> {
    const { logger, heartbeatMs, wills } = this.#options;
    const [boot = "0"] = await this.#changes.run(() => ({ keys: [KEY.boot], args: ["B"] }));
    this.#brokerId = `b${boot.padStart(16, "0")}`;
    this.#bus.start(this.#brokerId);
    const position = await this.#log.head();
    await this.#read();
    const writer = this.#changes;
    this.#nodes = new Nodes({ writer, heartbeatMs, logger });
    this.#wills = new StoredWills({
      writer,
      reader: this.#reader,
      brokerId: this.#brokerId,
      nodes: this.#nodes,
      wills,
      logger,
    });
    this.#log.start(position);
    await this.#nodes.start();
    await this.queues.bound(this.#known.clientIds());
  }

  /** Loads the data that the log then keeps up to date. The newest changes may be applied twice, which is harmless. */
  async #read(): Promise<void> {
    const newest = await this.#reader.retry((connection) => connection.get(KEY.changed));
    const owners = await this.#reader.retry((connection) => connection.hgetall(KEY.owners));
    const filters = await this.#reader.retry((connection) => connection.hgetall(KEY.filters));
    this.#known.load(newest ?? "0", owners, filters);
    await this.retained.load();
  }

  async #reload(): Promise<void> {
    this.#listener?.onMissed();
    await this.#read();
  }

  /** Called by Aedes at its start, before Aedes uses its emitter. */
  async setup(broker: { mq: BrokerEmitter }): Promise<void> {
    this.#emitter = new RedisEmitter({
      order: broker.mq,
      append: (publication) => this.#publications.append(publication),
      bus: this.#bus,
    });
    broker.mq = this.#emitter;
  }

  async #caughtUp(change: string): Promise<void> {
    if (Number(change) >= Number(this.#known.newest)) await this.#log.reached(Number(change));
    // Redis has lost the newest change, which the log is about to detect.
    else await new Promise((resolve) => setTimeout(resolve, LOSS_PAUSE_MS));
  }

  listen(listener: ClusterListener): void {
    this.#listener = listener;
  }

  /** Announces a client of this node to all nodes. The order of the log decides which connection is the newest. */
  async announce(client: { token: string; clientId: string; identity: string }): Promise<void> {
    const args = ["C", client.clientId, client.token, client.identity];
    await this.#changes.run(() => ({ keys: [], args }));
  }

  /** Abandons operations that Redis does not answer within half a second. */
  async destroy(): Promise<void> {
    const acknowledged = this.#removals.run(() => ({ keys: [], args: ["Z"] }));
    const leaving = Promise.allSettled([acknowledged, this.#nodes?.leave()]);
    await Promise.race([leaving, new Promise((resolve) => setTimeout(resolve, STOP_TIMEOUT_MS).unref())]);
    this.close();
  }

  close(): void {
    this.#nodes?.close();
    this.#bus.close();
    for (const part of [this.#log, this.#publisher, this.#changes, this.#removals, this.#reader]) part.close();
  }

  // The log

  #apply(entry: LogEntry): void {
    switch (entry.kind) {
      case "packet":
        this.retained.learn(entry.packet, entry.retain, this.#log.position);
        this.#emitter?.deliver(entry.packet);
        return;
      case "session":
        this.#known.change(String(this.#log.position), entry.clientId, entry.owner, entry.filters);
        return;
      case "client": {
        const { node, token, clientId, identity } = entry;
        this.#listener?.onClient({ here: node === this.#brokerId, token, clientId, identity });
      }
    }
  }

  #writer(name: string): RedisWriter {
    const { redis, logger } = this.#options;
    return new RedisWriter({
      redis,
      name,
      head: () => ({
        keys: [KEY.log, KEY.seq, KEY.changed, KEY.totals, senderKey(this.#brokerId), KEY.retained],
        args: [this.#brokerId, this.#known.newest, ...this.#limits],
      }),
      caughtUp: (change) => this.#caughtUp(change),
      onDrop: (drop) => this.queues.droppedFrom(drop),
      onTotals: (totals) => this.queues.counted(totals),
      logger,
    });
  }

  // Sessions, their owners and their filters

  ownerOf(clientId: string): SessionOwner | undefined {
    return this.#known.ownerOf(clientId);
  }

  keep(clientId: string, owner: SessionOwner): Promise<NotKept | undefined> {
    return this.#sessions.keep(clientId, owner);
  }

  left(clientId: string): Promise<void> {
    return this.#sessions.touch([clientId]);
  }

  discard(clientId: string): Promise<void> {
    return this.#sessions.discard(clientId);
  }

  discardWhere(matches: (owner: SessionOwner) => boolean): Promise<number> {
    return this.#sessions.discardWhere(matches);
  }

  /** A session that is connected to another node is renewed there, each time that node calls this method. */
  expire(moment: number, isConnected: (clientId: string) => boolean): Promise<number> {
    return this.#sessions.expire(moment, isConnected);
  }

  /** For each granted filter, Aedes passes all filters of the SUBSCRIBE, the refused ones too. */
  addSubscriptions(client: Session, subscriptions: Subscription[]): Promise<void> {
    return this.#sessions.addFilters(client.id, subscriptions);
  }

  async removeSubscriptions(client: Session, filters: string[]): Promise<void> {
    const known = this.#known.filtersOf(client.id);
    const stored = filters.filter((filter) => known.has(filter));
    if (stored.length > 0) await this.#sessions.removeFilters(client.id, stored);
  }

  async subscriptionsByClient(client: Session): Promise<Subscription[]> {
    return [...this.#known.filtersOf(client.id)].map(([topic, { qos }]) => ({ topic, qos }));
  }

  async cleanSubscriptions(client: Session): Promise<void> {
    const filters = [...this.#known.filtersOf(client.id).keys()];
    if (filters.length > 0) await this.removeSubscriptions(client, filters);
  }

  /** Always empty: messages are queued in one step with the log entry, not by Aedes. See {@link RedisEmitter}. */
  async subscriptionsByTopic(): Promise<[]> {
    return [];
  }

  async outgoingEnqueueCombi(): Promise<void> {}

  async outgoingEnqueue(): Promise<void> {
    throw new StorageUnavailableError("messages to a single client are not stored");
  }

  /** Does nothing: messages are retained in one step with the log entry. */
  async storeRetained(): Promise<void> {}

  createRetainedStream(filter: string): Readable {
    return this.createRetainedStreamCombi([filter]);
  }

  createRetainedStreamCombi(filters: string[]): Readable {
    return Readable.from(this.#readRetained(filters), { highWaterMark: 1 });
  }

  /** Ends the stream on errors. Aedes does not handle the stream's errors: they would crash the process. */
  async *#readRetained(filters: string[]): AsyncGenerator<KeptPacket> {
    try {
      yield* this.retained.read(filters);
    } catch (error) {
      this.#options.logger.error({ err: error }, "retained messages unreadable");
    }
  }

  // Messages to clients

  outgoingUpdate(client: Session, packet: OutgoingUpdate): Promise<void> {
    // After a PUBREC, Aedes passes only the message id.
    if (packet.brokerId !== undefined) this.#replays.sent(client);
    if (packet.cmd === "publish") {
      // For a QoS 0 filter equal to the topic, Aedes lowers the QoS, even when another filter of the client grants
      // more. The message would be sent without an acknowledgement, and again at every connection.
      if (packet.qos === 0) packet.qos = 1;
      const payload = typeof packet.payload === "string" ? Buffer.from(packet.payload) : packet.payload;
      return this.queues.send(client, kept(packet, payload), packet.messageId);
    }
    return this.queues.release(client, packet.messageId, packet.brokerCounter);
  }

  async outgoingClearMessageId(
    client: Session,
    packet: { messageId?: number | undefined; brokerId?: string | undefined; brokerCounter?: number | undefined },
  ): Promise<unknown> {
    const { messageId, brokerId, brokerCounter } = packet;
    if (messageId !== undefined) {
      if (client.clean !== true) return this.queues.acknowledge(client, messageId);
      return this.#options.takeReceipt(client, messageId);
    }
    // A delivery was suppressed. The message stays in the queue if it was refused or is delivered from the queue.
    if (client.clean === true || brokerId === undefined || brokerCounter === undefined) return undefined;
    if (!this.#options.wasForwarded(client, brokerCounter)) return undefined;
    // If the other delivery has QoS 1 or 2, it marks the message as sent within this turn of the event loop.
    await new Promise((resolve) => setImmediate(resolve));
    if (client.closed !== true) this.queues.dismiss(client, brokerCounter);
    return undefined;
  }

  /** The queued messages, including those published until the queue has been read to its end. */
  outgoingStream(client: Session): Readable {
    return Readable.from(this.#readQueue(client), { highWaterMark: 1 });
  }

  async *#readQueue(client: Session): AsyncGenerator<KeptPacket> {
    try {
      yield* this.#replays.read(client);
    } catch (error) {
      this.#options.logger.error({ err: error, ...sessionName(client.id) }, "session queue unreadable");
    }
  }

  isDeliveredFromQueue(client: Session, brokerCounter: number): boolean {
    return this.#replays.holds(client, brokerCounter);
  }

  // Messages from clients, QoS 2

  isIncoming(clientId: string, messageId: number): boolean {
    return this.#sessions.isIncoming(clientId, messageId);
  }

  /** Stores only the id: the message has been forwarded already. */
  async incomingStorePacket(client: Session, { messageId }: StoredPacket): Promise<void> {
    if (messageId !== undefined) await this.#sessions.addIncoming(client, messageId);
  }

  async incomingGetPacket(client: Session, packet: { messageId?: number }): Promise<unknown> {
    if (packet.messageId === undefined || !this.isIncoming(client.id, packet.messageId))
      throw new Error("no such packet");
    return packet;
  }

  async incomingDelPacket(client: Session, { messageId }: { messageId?: number }): Promise<void> {
    if (messageId !== undefined) await this.#sessions.deleteIncoming(client, messageId);
  }

  async cleanIncoming(client: Session): Promise<void> {
    this.#sessions.clearIncoming(client.id);
  }

  // Wills. None of these methods may reject: Aedes does not handle rejections, and the process would crash.

  async putWill(client: Session, will: Will): Promise<void> {
    await this.#wills?.put(client, will);
  }

  /**
   * With a broker id, Aedes means the will of a connection that has closed; without one (when a client connects), any
   * will of the session.
   */
  async delWill(client: { id: string; brokerId?: string | undefined }): Promise<void> {
    await this.#wills?.remove(client);
  }

  /** The wills of clients whose nodes ended without publishing them. */
  streamWill(_brokers: Brokers = {}): Readable {
    return Readable.from(this.#wills?.orphaned() ?? []);
  }
}

function kept(
  { topic, qos, retain, dup, brokerId, brokerCounter, messageId }: StoredPacket,
  payload: Buffer,
): KeptPacket {
  return { cmd: "publish", topic, payload, qos, retain, dup, brokerId, brokerCounter, messageId };
}

/**
 * Connects to Redis and loads the indexes into memory.
 * @throws {StorageError} Redis cannot be used; the message says what to do
 */
export async function openRedisStorage(options: RedisStorageOptions): Promise<RedisStorage> {
  const storage = new RedisStorage(options);
  try {
    await storage.load();
  } catch (error) {
    storage.close();
    throw error;
  }
  return storage;
}

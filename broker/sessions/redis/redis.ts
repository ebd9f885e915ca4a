import { Readable } from "node:stream";
import type { Brokers, Subscription } from "aedes";
import { inTime } from "../../../platform/in-time.ts";
import type { RedisConnections } from "../../../platform/redis/connections.ts";
import type { NotKept } from "../../access/authenticate.ts";
import { sessionName } from "../../access/session-names.ts";
import type { SessionOwner } from "../../access/session-owner.ts";
import type { ClientAnnouncement } from "../../access/take-overs.ts";
import { RetryingConnection, StorageUnavailableError } from "../../cluster/redis-connection.ts";
import { type BrokerEmitter, type ClusterPublication, RedisEmitter } from "../../cluster/redis-emitter.ts";
import { QosZeroBus } from "../../cluster/redis-qos-zero.ts";
import { Replays } from "../replays.ts";
import {
  type Cleared,
  kept,
  type OutgoingUpdate,
  type Session,
  StorageError,
  type StorageOptions,
  type StoredPacket,
  safely,
} from "../storage.ts";
import { KEY, limit, senderKey } from "./keys.ts";
import { LOG_ID, type LogEntry, MAX_LOG_BYTES, MAX_LOG_ENTRIES, MessageLog } from "./message-log.ts";
import { Nodes } from "./nodes.ts";
import { appendPublication } from "./publications.ts";
import { RedisQueues } from "./queues.ts";
import { RedisRetained } from "./retained.ts";
import { SessionStore } from "./session-store.ts";
import { KnownSessions } from "./sessions.ts";
import { StoredWills, type Will } from "./stored-wills.ts";
import { RedisWriter } from "./writer.ts";

/** The start waits this long for Redis. */
const START_TIMEOUT_MS = 5_000;
/** If Redis has lost data, a retry waits this long, so that the log detects the loss first. */
const LOSS_PAUSE_MS = 50;
/** Stopping waits this long for the last operations. */
const STOP_TIMEOUT_MS = 500;

interface RedisStorageOptions extends StorageOptions {
  redis: RedisConnections;
  sessionHours: number;
  heartbeatMs: number;
}

interface ClusterListener {
  /** @param here whether the client has connected to this node */
  onClient(client: ClientAnnouncement, here: boolean): void;
  /** This node has missed messages: all clients must reconnect. */
  onMissed(): void;
}

/**
 * MQTT sessions, retained messages, wills and the messages between nodes in Redis, for any number of nodes.
 *
 * It does not use aedes-persistence-redis (11.2.2), whose operations have inconsistent intermediate states:
 * - `outgoingStream` ignores all but 1,001 messages of a queue. Queues are unbounded, and ordered by arrival. If a
 *   message's counter of readers misses a decrement, the message stays forever.
 * - `delWill` uses a field that Aedes does not set, so the will of a client that reconnected to another node is
 *   published. `putWill`, `delWill` and `outgoingStream` do not await some writes: without Redis, the process crashes
 *   with an unhandled rejection.
 * - `addSubscriptions` stores refused filters. After a restart, messages are queued even for QoS 0 subscriptions. If
 *   the message that announces a subscription to other nodes is lost, the SUBACK is never sent.
 * - `storeRetained` is not atomic with the delivery: the retained message may not be the last delivered one. Every
 *   wildcard filter scans all retained messages.
 * - `incomingStorePacket` writes keys that are never removed.
 *
 * Here, one step of `script.ts` gives a publication its number and its log entry, queues it, and retains it. The node
 * uses its own copy of the sessions to find the queues for a publication. The script rejects a publication if that copy
 * is outdated, so a session misses nothing after its SUBACK.
 */
class RedisStorage {
  readonly #options: RedisStorageOptions;
  readonly #reader: RetryingConnection;
  readonly #publisher: RedisWriter;
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
  brokerId = "";
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
    const position = () => this.#log.position;
    this.retained = new RedisRetained({ reader, position, maxMessages: options.maxRetainedMessages, logger });
    this.#sessions = new SessionStore({
      ...options,
      known: this.#known,
      writer: this.#changes,
      reader,
      caughtUp: (change) => this.#caughtUp(change),
      unavailableReason: () => this.unavailableReason,
    });
    const onEntry = (entry: LogEntry) => this.#apply(entry);
    this.#log = new MessageLog({ redis, onEntry, onGap: () => this.#reload(), logger });
    this.#replays = new Replays({ queues: this.queues, brokerId: () => LOG_ID, lastDispatched: position });
    this.#bus = new QosZeroBus({ redis, onPacket: (packet) => this.#emitter?.deliver(packet), logger });
  }

  get sessions(): number {
    return this.#known.size;
  }

  /** Why no publication can be accepted. */
  get unavailableReason(): string | undefined {
    const why = this.#publisher.unavailableReason ?? this.#changes.unavailableReason ?? this.#log.unavailableReason;
    return why === undefined ? undefined : `the MQTT broker's store does not answer: ${why}`;
  }

  /** @throws {StorageError} Redis did not answer within 5 s */
  load(): Promise<void> {
    return inTime(this.#load(), START_TIMEOUT_MS, () => {
      const why = this.#changes.lastError ?? "it did not answer";
      const advice = "check REDIS_URL, and that Redis runs and accepts writes";
      return new StorageError(`the MQTT broker cannot use Redis (${why}): ${advice}`);
    });
  }

  async #load(): Promise<void> {
    const { logger, heartbeatMs, wills } = this.#options;
    const reader = this.#reader;
    const [boot = "0"] = await this.#changes.run(() => ({ keys: [KEY.boot], args: ["B"] }));
    this.brokerId = `b${boot.padStart(16, "0")}`;
    this.#bus.start(this.brokerId);
    const position = await this.#log.head();
    await this.#read();
    const writer = this.#changes;
    const nodes = new Nodes({ writer, heartbeatMs, logger });
    this.#nodes = nodes;
    this.#wills = new StoredWills({ writer, reader, brokerId: this.brokerId, nodes, wills, logger });
    this.#log.start(position);
    await nodes.start();
    await this.queues.bound(this.#known.clientIds());
  }

  /**
   * Loads the data that the log then keeps up to date. The log may apply the newest changes a second time, which is
   * harmless.
   */
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

  /** Called by Aedes before Aedes uses its emitter. */
  async setup(broker: { mq: BrokerEmitter }): Promise<void> {
    const target = { writer: this.#publisher, known: this.#known, retained: this.retained };
    const append = (publication: ClusterPublication) => appendPublication(publication, target);
    this.#emitter = new RedisEmitter({ order: broker.mq, append, bus: this.#bus });
    broker.mq = this.#emitter;
  }

  async #caughtUp(change: string): Promise<void> {
    if (Number(change) >= Number(this.#known.newest)) await this.#log.reached(Number(change));
    // Redis has lost the newest change: give the log time to detect the loss before the retry.
    else await new Promise((resolve) => setTimeout(resolve, LOSS_PAUSE_MS));
  }

  listen(listener: ClusterListener): void {
    this.#listener = listener;
  }

  async announce(client: ClientAnnouncement): Promise<void> {
    const args = ["C", client.clientId, client.token, client.identity];
    await this.#changes.run(() => ({ keys: [], args }));
  }

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
        this.#listener?.onClient({ token, clientId, identity }, node === this.brokerId);
      }
    }
  }

  #writer(name: string): RedisWriter {
    const { redis, logger } = this.#options;
    return new RedisWriter({
      redis,
      name,
      head: () => ({
        keys: [KEY.log, KEY.seq, KEY.changed, KEY.totals, senderKey(this.brokerId), KEY.retained],
        args: [this.brokerId, this.#known.newest, ...this.#limits],
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

  release(): void {}

  discard(clientId: string): Promise<void> {
    return this.#sessions.discard(clientId);
  }

  discardWhere(matches: (owner: SessionOwner) => boolean): Promise<number> {
    return this.#sessions.discardWhere(matches);
  }

  /** Every node calls this method, which first renews the sessions of the clients that are connected to the node. */
  expire(moment: number, isConnected: (clientId: string) => boolean): Promise<number> {
    return this.#sessions.expire(moment, isConnected);
  }

  /**
   * Aedes calls this method for each granted filter, and each time passes all filters of the SUBSCRIBE, even refused
   * ones.
   */
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

  /** Empty, because Aedes does not queue messages: they are queued in one step with the log entry. */
  async subscriptionsByTopic(): Promise<[]> {
    return [];
  }

  async outgoingEnqueueCombi(): Promise<void> {}

  async outgoingEnqueue(): Promise<void> {
    throw new StorageUnavailableError("messages to a single client are not stored");
  }

  /** Messages are retained in one step with the log entry. */
  async storeRetained(): Promise<void> {}

  createRetainedStream(filter: string): Readable {
    return this.createRetainedStreamCombi([filter]);
  }

  createRetainedStreamCombi(filters: string[]): Readable {
    const onError = (err: unknown) => this.#options.logger.error({ err }, "retained messages unreadable");
    return Readable.from(safely(this.retained.read(filters), onError), { highWaterMark: 1 });
  }

  // Messages to clients

  outgoingUpdate(client: Session, packet: OutgoingUpdate): Promise<void> {
    // After a PUBREC, Aedes passes only the message id.
    if (packet.brokerId !== undefined) this.#replays.sent(client);
    if (packet.cmd === "publish") {
      // If a QoS 0 filter equals the topic, Aedes lowers the message to QoS 0, even if another filter grants more. A
      // queued message of QoS 0 is never acknowledged, and so would be sent again at every connection.
      if (packet.qos === 0) packet.qos = 1;
      return this.queues.send(client, kept(packet), packet.messageId);
    }
    return this.queues.release(client, packet.messageId, packet.brokerCounter);
  }

  async outgoingClearMessageId(client: Session, packet: Cleared): Promise<unknown> {
    const { messageId, brokerId, brokerCounter } = packet;
    if (messageId !== undefined) {
      if (client.clean !== true) return this.queues.acknowledge(client, messageId);
      return this.#options.takeReceipt(client, messageId);
    }
    // Aedes has suppressed a delivery. The message stays in the queue if its delivery was refused, or comes from the
    // queue.
    if (client.clean === true || brokerId === undefined || brokerCounter === undefined) return undefined;
    if (!this.#options.wasForwarded(client, brokerCounter)) return undefined;
    // If the message is also being delivered at QoS 1 or 2, that delivery marks it as sent within this turn of the
    // event loop.
    await new Promise((resolve) => setImmediate(resolve));
    if (client.closed !== true) this.queues.dismiss(client, brokerCounter);
    return undefined;
  }

  outgoingStream(client: Session): Readable {
    const onError = (err: unknown) =>
      this.#options.logger.error({ err, ...sessionName(client.id) }, "session queue unreadable");
    return Readable.from(safely(this.#replays.read(client), onError), { highWaterMark: 1 });
  }

  isDeliveredFromQueue(client: Session, brokerCounter: number): boolean {
    return this.#replays.holds(client, brokerCounter);
  }

  // Messages from clients, QoS 2

  isIncoming(clientId: string, messageId: number): boolean {
    return this.#sessions.isIncoming(clientId, messageId);
  }

  /** Stores only the id: the message has been forwarded. */
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

  // Wills. These methods may not reject: Aedes does not handle rejections, and the process would crash.

  async putWill(client: Session, will: Will): Promise<void> {
    await this.#wills?.put(client, will);
  }

  /** Aedes passes a broker id when a connection has closed, and none when a client connects. */
  async delWill(client: { id: string; brokerId?: string | undefined }): Promise<void> {
    await this.#wills?.remove(client);
  }

  streamWill(_brokers: Brokers = {}): Readable {
    return Readable.from(this.#wills?.orphaned() ?? []);
  }
}

/** Connects to Redis and loads the indexes into memory. @throws {StorageError} */
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

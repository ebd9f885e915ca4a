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

/** How long the broker's start waits for Redis. */
const START_TIMEOUT_MS = 5_000;
/** Between two looks whether the log has seen that Redis lost what it had. */
const FORGOTTEN_PAUSE_MS = 50;
/** How long its stop waits for what is still to be written. */
const STOP_TIMEOUT_MS = 500;

export interface RedisStorageOptions {
  redis: RedisConnections;
  permissionsOf(permissions: readonly string[]): PermissionSet;
  /** A message of which we want to hear that it was acknowledged. */
  wantsReceipt(topic: string): boolean;
  /** The same, sent to a client with a clean session, of which nothing is stored. */
  takeReceipt(client: Session, messageId: number): unknown;
  /** Whether the client was given the publication just now, by one of its subscriptions. */
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

/** What the broker is told of other nodes. */
interface ClusterListener {
  /** A client has connected at another node, or at this one: `token` is what {@link RedisStorage.announce} was given. */
  onClient(client: { here: boolean; token: string; clientId: string; identity: string }): void;
  /** Messages between the nodes were missed: whoever is connected is to come again. */
  onMissed(): void;
}

/**
 * MQTT sessions, retained messages and wills in Redis, for any number of nodes; the messages between the nodes too.
 *
 * aedes-persistence-redis 11.2.2 is not under this, though it is made for it. What it does in several steps is in a wrong
 * state between them, and it has no method of which that does not matter:
 * - `outgoingStream` reads 1,001 messages of a queue and leaves the rest; a queue has no bound and its order over several
 *   nodes is that of arrival; a counter of readers that misses one decrement keeps the message for ever.
 * - `delWill` uses a field that Aedes does not set, so that the will of a client that came back elsewhere is published;
 *   `putWill`, `delWill` and `outgoingStream` do not await some writes: without Redis an unhandled rejection ends the process.
 * - `addSubscriptions` stores filters that were refused; subscriptions of QoS 0 queue after a restart; another node learns
 *   of a subscription by a message that can be lost, and then the SUBACK never comes.
 * - `storeRetained` is no one step with the delivery, so that of two nodes' messages one is retained and the other the
 *   last delivered; every wildcard looks at all retained messages.
 * - `incomingStorePacket` writes keys that nobody removes.
 *
 * Here a publication is one step: its number, its place in the log that all nodes follow, in the queues, and as the
 * retained message (`redis/script.ts`). It is matched with the sessions that this node knows of, and refused by the script
 * when that knowledge is not the newest: a session that has its SUBACK misses nothing.
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
      onEntry: (entry) => this.#learn(entry),
      onHole: () => this.#beginAnew(),
      logger,
    });
    this.#replays = new Replays({
      queues: this.queues,
      brokerId: () => LOG_ID,
      lastDispatched: () => this.#log.position,
    });
    this.#bus = new QosZeroBus({ redis, onPacket: (packet) => this.#emitter?.deliver(packet), logger });
  }

  /** A name for this run of this node that sorts after those of all runs before, at any node. */
  get brokerId(): string {
    return this.#brokerId;
  }

  /** Sessions that outlive their connections, of all nodes. */
  get sessions(): number {
    return this.#known.size;
  }

  /** Why nothing can be accepted now; undefined while all is well. */
  get unavailableReason(): string | undefined {
    const why = this.#publisher.unavailableReason ?? this.#changes.unavailableReason ?? this.#log.unavailableReason;
    return why === undefined ? undefined : `the MQTT broker's store does not answer: ${why}`;
  }

  /** @throws {StorageError} Redis did not answer within 5 s */
  async load(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const why = this.#changes.objection ?? "it did not answer";
        reject(
          new StorageError(
            `the MQTT broker cannot use Redis (${why}): check REDIS_URL, and that Redis runs and takes writes`,
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

  /** Reads what the log tells the changes of. Its newest are in it perhaps, and told once more: that changes nothing. */
  async #read(): Promise<void> {
    const newest = await this.#reader.retry((connection) => connection.get(KEY.changed));
    const owners = await this.#reader.retry((connection) => connection.hgetall(KEY.owners));
    const filters = await this.#reader.retry((connection) => connection.hgetall(KEY.filters));
    this.#known.load(newest ?? "0", owners, filters);
    await this.retained.load();
  }

  async #beginAnew(): Promise<void> {
    this.#listener?.onMissed();
    await this.#read();
  }

  /** Called by Aedes when it starts, before it uses its emitter. */
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
    // Redis has forgotten the newest change, and the log is about to see it.
    else await new Promise((resolve) => setTimeout(resolve, FORGOTTEN_PAUSE_MS));
  }

  listen(listener: ClusterListener): void {
    this.#listener = listener;
  }

  /** A client has connected here: all nodes are to know, in the order in which its connections were made. */
  async announce(client: { token: string; clientId: string; identity: string }): Promise<void> {
    const args = ["C", client.clientId, client.token, client.identity];
    await this.#changes.run(() => ({ keys: [], args }));
  }

  /** Gives up what Redis does not take within half a second. */
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

  #learn(entry: LogEntry): void {
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

  /** At least as long a life as asked for: who is connected elsewhere is renewed there, as often as this is called. */
  expire(moment: number, isConnected: (clientId: string) => boolean): Promise<number> {
    return this.#sessions.expire(moment, isConnected);
  }

  /** Aedes hands all filters of a SUBSCRIBE, the refused ones too, once for each that is granted. */
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

  /** Queued with the entry of the log, in one step: see {@link RedisEmitter}. Aedes has nothing to do. */
  async subscriptionsByTopic(): Promise<[]> {
    return [];
  }

  async outgoingEnqueueCombi(): Promise<void> {}

  async outgoingEnqueue(): Promise<void> {
    throw new StorageUnavailableError("messages to one client alone are not stored");
  }

  /** The same holds for what is retained. */
  async storeRetained(): Promise<void> {}

  createRetainedStream(filter: string): Readable {
    return this.createRetainedStreamCombi([filter]);
  }

  createRetainedStreamCombi(filters: string[]): Readable {
    return Readable.from(this.#readRetained(filters), { highWaterMark: 1 });
  }

  /** Ends where reading fails: Aedes does not listen to the stream's errors, and the process would end instead. */
  async *#readRetained(filters: string[]): AsyncGenerator<KeptPacket> {
    try {
      yield* this.retained.read(filters);
    } catch (error) {
      this.#options.logger.error({ err: error }, "retained messages could not be read");
    }
  }

  // Messages to clients

  outgoingUpdate(client: Session, packet: OutgoingUpdate): Promise<void> {
    // After a PUBREC Aedes names the message by its id alone.
    if (packet.brokerId !== undefined) this.#replays.sent(client);
    if (packet.cmd === "publish") {
      // Aedes lowers it for a filter of QoS 0 that is the topic itself, though another of the client's is higher: it
      // would be sent without being acknowledged, and be sent again with every connection.
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
    // A delivery that is not made. If it was refused or left to the queue, the message stays there.
    if (client.clean === true || brokerId === undefined || brokerCounter === undefined) return undefined;
    if (!this.#options.wasForwarded(client, brokerCounter)) return undefined;
    // The other delivery, if it is of QoS 1 or 2, enters the message as sent within this turn of the event loop.
    await new Promise((resolve) => setImmediate(resolve));
    if (client.closed !== true) this.queues.dismiss(client, brokerCounter);
    return undefined;
  }

  /** The messages of the queue, and with them those that are published until it has been read to its end. */
  outgoingStream(client: Session): Readable {
    return Readable.from(this.#readQueue(client), { highWaterMark: 1 });
  }

  async *#readQueue(client: Session): AsyncGenerator<KeptPacket> {
    try {
      yield* this.#replays.read(client);
    } catch (error) {
      this.#options.logger.error({ err: error, ...sessionName(client.id) }, "the queue of a session could not be read");
    }
  }

  /** Whether a publication that the session queues must not be delivered to its client now, for the queue brings it. */
  isDeliveredFromQueue(client: Session, brokerCounter: number): boolean {
    return this.#replays.holds(client, brokerCounter);
  }

  // Messages from clients, QoS 2

  isIncoming(clientId: string, messageId: number): boolean {
    return this.#sessions.isIncoming(clientId, messageId);
  }

  /** The id alone: the message has been forwarded when this is asked for. */
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

  // Wills. None of these may reject: Aedes does not listen, and the process would end.

  async putWill(client: Session, will: Will): Promise<void> {
    await this.#wills?.put(client, will);
  }

  /** With the id of a node Aedes means a connection's own; without, when a client connects, whichever there is. */
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
 * Connects and reads what must be in memory.
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

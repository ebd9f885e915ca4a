import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import type { Brokers, Subscription } from "aedes";
import { KeyedQueue } from "../../platform/keyed-queue.ts";
import type { LoggedPublication } from "../../platform/publication-log.ts";
import type { NotKept } from "../access/authenticate.ts";
import type { SessionOwner } from "../access/session-owner.ts";
import type { IncomingIds } from "./incoming-ids.ts";
import { deliveriesOf, isLogClient, LOG_ID, LogConnection } from "./log-connection.ts";
import type { LogRetained } from "./log-retained.ts";
import type { LogSessions } from "./log-sessions.ts";
import type { LogWills } from "./log-wills.ts";
import type { SessionCursor } from "./session-cursor.ts";
import { SessionLifetimes, type SessionLifetimesOptions } from "./session-lifetimes.ts";
import {
  type BrokerStorage,
  type Callback,
  type Cleared,
  type LogDeliveries,
  type OutgoingUpdate,
  type Session,
  type StoredPacket,
  type StoredSubscription,
  safely,
} from "./storage.ts";

interface LogStorageOptions extends SessionLifetimesOptions {
  /** Whether the client may receive the publication now. */
  mayReceive(client: object, publication: LoggedPublication): boolean;
}

/**
 * Sessions, retained messages and wills in the journal's store, where the publications are. Aedes sees an object that
 * stores nothing for a session: no message is queued, because each session is a cursor over the log.
 */
class LogStorage implements BrokerStorage {
  readonly #options: LogStorageOptions;
  readonly #lifetimes: SessionLifetimes;
  readonly #sessions: LogSessions;
  readonly #wills: LogWills;
  readonly #incoming: IncomingIds;
  /** Serializes the answers to SUBSCRIBE and UNSUBSCRIBE of each session. */
  readonly #filterChanges = new KeyedQueue();
  readonly #connections = new WeakMap<object, LogConnection>();
  readonly retained: LogRetained;
  readonly deliveries: LogDeliveries;
  readonly brokerId = `b${randomBytes(9).toString("base64url")}`;

  constructor(options: LogStorageOptions) {
    this.#options = options;
    this.#lifetimes = new SessionLifetimes(options, this.brokerId);
    const { sessions, wills, incoming, retained } = this.#lifetimes;
    this.#sessions = sessions;
    this.#wills = wills;
    this.#incoming = incoming;
    this.retained = retained;
    this.deliveries = deliveriesOf((key) => sessions.get(key)?.cursor);
  }

  /** Called by Aedes when it starts. Aedes demands an async function. */
  async setup(): Promise<void> {}

  load(): Promise<void> {
    return this.#lifetimes.load();
  }

  // Sessions and their owners

  get sessions(): number {
    return this.#sessions.size;
  }

  get queues(): BrokerStorage["queues"] {
    return this.#sessions.bounds;
  }

  ownerOf(key: string): SessionOwner | undefined {
    return this.#sessions.get(key)?.owner;
  }

  async left(key: string): Promise<void> {
    this.#sessions.left(key);
  }

  keep(key: string, owner: SessionOwner): Promise<NotKept | undefined> {
    return this.#lifetimes.keep(key, owner);
  }

  discard(key: string): Promise<void> {
    return this.#lifetimes.discard(key);
  }

  release(key: string): void {
    this.#lifetimes.release(key);
  }

  expire(moment: number, isConnected: (key: string) => boolean): Promise<number> {
    return this.#lifetimes.expire(moment, isConnected);
  }

  discardWhere(matches: (owner: SessionOwner) => boolean): Promise<number> {
    return this.#lifetimes.discardWhere(matches);
  }

  // Retained messages

  /** The journal has stored the message together with the publication. */
  async storeRetained(): Promise<void> {}

  createRetainedStream(filter: string): Readable {
    return this.createRetainedStreamCombi([filter]);
  }

  createRetainedStreamCombi(filters: string[]): Readable {
    const onError = (err: unknown) => this.#options.logger.error({ err }, "retained messages unreadable");
    return Readable.from(safely(this.#retainedPackets(filters), onError), { highWaterMark: 1 });
  }

  async *#retainedPackets(filters: readonly string[]): AsyncGenerator<object> {
    for await (const { topic, payload, qos } of this.retained.read(filters))
      yield { cmd: "publish", topic, payload, qos, retain: true, dup: false };
  }

  // Subscriptions

  isSubscribed(key: string, filter: string): boolean {
    return this.#sessions.get(key)?.cursor.filters.has(filter) ?? false;
  }

  subscribe(key: string, filter: string, qos: 0 | 1 | 2): Promise<void> {
    const session = this.#sessions.get(key);
    if (session !== undefined) this.#sessions.subscribe(session, filter, qos);
    return this.#storeFilters(key);
  }

  /** Resolves when the session's filters are durable, in the order of the calls. */
  #storeFilters(key: string): Promise<void> {
    const flushed = this.#sessions.store(key);
    // An earlier call may fail first.
    flushed.catch(() => {});
    return this.#filterChanges.run(key, async () => {
      await flushed;
      if (this.#sessions.get(key) !== undefined) this.#lifetimes.assertWriter(key);
    });
  }

  /** {@link subscribe} has added the filters. */
  addSubscriptions(): Callback {
    return AT_ONCE;
  }

  removeSubscriptions({ id }: Session, filters: string[]): Callback {
    const session = this.#sessions.get(id);
    const stored = filters.filter((filter) => session?.cursor.filters.has(filter));
    if (session === undefined || stored.length === 0) return AT_ONCE;
    for (const filter of stored) this.#sessions.unsubscribe(session, filter);
    return this.#storeFilters(id);
  }

  async subscriptionsByClient({ id }: Session): Promise<Subscription[]> {
    const filters = this.#sessions.get(id)?.cursor.filters ?? new Map<string, { qos: 0 | 1 | 2 }>();
    return [...filters].map(([topic, { qos }]) => ({ topic, qos }));
  }

  /** The session was discarded when its client authenticated. */
  async cleanSubscriptions(): Promise<void> {}

  async subscriptionsByTopic(): Promise<StoredSubscription[]> {
    return NO_SUBSCRIPTIONS;
  }

  async countOffline(): Promise<{ subsCount: number; clientsCount: number }> {
    return { subsCount: 0, clientsCount: 0 };
  }

  // Messages to clients

  async outgoingEnqueue(): Promise<void> {}

  async outgoingEnqueueCombi(): Promise<void> {}

  async outgoingUpdate(client: Session, packet: OutgoingUpdate): Promise<void> {
    const cursor = this.#sessions.get(client.id)?.cursor;
    const connection = this.#connections.get(client);
    if (cursor === undefined || connection === undefined) return;
    if (packet.cmd === "publish") {
      // If a filter of a lower QoS equals the topic, Aedes lowers the message, even if another filter grants more.
      if (packet.brokerId === LOG_ID) packet.qos = cursor.flights.at(packet.brokerCounter)?.qos ?? packet.qos;
      return;
    }
    // A PUBREL that the store does not know of would free the message id at the client, and not in the session.
    assertNewest(cursor, connection);
    if (packet.brokerCounter !== undefined) {
      // A PUBREL of `outgoingStream`, which Aedes writes within this turn of the event loop.
      if (--connection.unsentReleases === 0) setImmediate(() => cursor.start(connection));
      return;
    }
    const release = cursor.receive(connection, packet.messageId);
    if (release === undefined) return;
    await this.#sessions.store(client.id);
    assertNewest(this.#sessions.get(client.id)?.cursor, connection);
    release();
  }

  async outgoingClearMessageId(client: Session, packet: Cleared): Promise<unknown> {
    const { messageId, brokerId, brokerCounter } = packet;
    if (client.clean === true)
      return messageId === undefined ? undefined : this.#options.takeReceipt(client, messageId);
    const cursor = this.#sessions.get(client.id)?.cursor;
    const connection = this.#connections.get(client);
    if (cursor === undefined || connection === undefined) return undefined;
    if (messageId !== undefined) return cursor.acknowledge(connection, messageId);
    if (brokerId === LOG_ID && brokerCounter !== undefined) cursor.refused(brokerCounter);
    return undefined;
  }

  /** The PUBRELs that the client has to get again. When they are written, the session's cursor begins to send. */
  outgoingStream(client: Session): Readable {
    return Readable.from(this.#outgoing(client), { highWaterMark: 1 });
  }

  async *#outgoing(client: Session): AsyncGenerator<object> {
    const session = this.#sessions.get(client.id);
    if (client.clean === true || session === undefined || !isLogClient(client)) return;
    const connection = new LogConnection(client, this.#options.mayReceive);
    const { cursor } = session;
    this.#connections.set(client, connection);
    this.#sessions.bounds.cut(session);
    const released = cursor.connect(connection);
    client.conn.once("close", () => cursor.disconnect(connection));
    client.conn.on("drain", () => cursor.wake());
    if (client.closed === true) {
      cursor.disconnect(connection);
      return;
    }
    connection.unsentReleases = released.length;
    if (released.length === 0) cursor.start(connection);
    // Streams read ahead: the end of this function does not mean that all PUBRELs are written.
    for (const messageId of released) yield { ...PUBREL, messageId };
  }

  // Messages from clients, QoS 2

  isIncoming(clientId: string, messageId: number): boolean {
    return this.#incoming.has(clientId, messageId);
  }

  /** The journal has stored the id of a persistent session's publication together with the publication. */
  async incomingStorePacket({ id }: Session, { messageId }: StoredPacket): Promise<void> {
    if (messageId !== undefined) this.#incoming.add(id, messageId);
  }

  async incomingGetPacket({ id }: Session, packet: { messageId?: number }): Promise<unknown> {
    if (packet.messageId === undefined || !this.#incoming.has(id, packet.messageId)) throw new Error("no such packet");
    return packet;
  }

  async incomingDelPacket(client: Session, { messageId }: { messageId?: number }): Promise<void> {
    if (messageId === undefined) return;
    if (client.clean !== true) {
      await this.#options.log.removeIncomingIds([{ session: client.id, messageId }]).catch((error: unknown) => {
        // Aedes sends PUBCOMP nevertheless. With this id, the client's next publication would be taken for a repetition.
        this.#options.closeClients(client.id);
        throw error;
      });
    }
    this.#incoming.delete(client.id, messageId);
  }

  cleanIncoming({ id }: Session): Promise<void> {
    return this.#lifetimes.cleanIncoming(id);
  }

  // Wills

  putWill(client: Session, will: object): Promise<void> {
    return this.#wills.put(client, will);
  }

  async delWill(client: Session & { brokerId?: string }): Promise<void> {
    this.#wills.delete(client);
  }

  streamWill(brokers: Brokers = {}): Readable {
    return Readable.from(this.#wills.orphans(brokers));
  }

  destroy(): Promise<void> {
    return this.#lifetimes.stop();
  }
}

const NO_SUBSCRIPTIONS: StoredSubscription[] = [];
/** A promise would call back in a later turn, and Aedes would handle what follows the packet before the packet. */
// biome-ignore lint/suspicious/noThenProperty: Aedes calls nothing but `then`
const AT_ONCE: Callback = { then: (resolve: () => void) => resolve() };
const PUBREL = {
  ...{ cmd: "pubrel", topic: "", payload: Buffer.alloc(0), qos: 1, retain: false, dup: false },
  ...{ brokerId: LOG_ID, brokerCounter: 1 },
};

/** @throws {Error} the session continues at another connection */
function assertNewest(cursor: SessionCursor | undefined, connection: LogConnection): asserts cursor is SessionCursor {
  if (cursor?.isNewest(connection) !== true) throw new Error("the session continues at another connection");
}

/** @throws {StoreUnavailableError} the store cannot be read */
export async function openLogStorage(options: LogStorageOptions): Promise<LogStorage> {
  const storage = new LogStorage(options);
  await storage.load();
  return storage;
}

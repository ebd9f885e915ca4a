import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import type { Brokers, Subscription } from "aedes";
import { StoreUnavailableError } from "../../platform/errors.ts";
import { inTime } from "../../platform/in-time.ts";
import { KeyedQueue } from "../../platform/keyed-queue.ts";
import type { OnDamage } from "../../platform/level/damage.ts";
import type { LoggedPublication, MqttLog } from "../../platform/publication-log.ts";
import type { NotKept } from "../access/authenticate.ts";
import { ConnackCode, RefusedConnectionError } from "../access/errors.ts";
import { describeSession } from "../access/session-names.ts";
import type { SessionOwner } from "../access/session-owner.ts";
import { IncomingIds } from "./incoming-ids.ts";
import { LogRetained } from "./log-retained.ts";
import { type LogSession, LogSessions } from "./log-sessions.ts";
import { LogWills } from "./log-wills.ts";
import {
  FIRST_UNLOGGED_ID,
  LAST_ID,
  type SessionConnection,
  type SessionCursor,
  type SessionDelivery,
} from "./session-cursor.ts";
import {
  type BrokerStorage,
  type Callback,
  type Cleared,
  type LogDeliveries,
  type OutgoingUpdate,
  type Session,
  type StorageOptions,
  type StoredPacket,
  type StoredSubscription,
  safely,
} from "./storage.ts";

/** The broker id of publications that come from the log. Their counter is their position. */
const LOG_ID = "log";
/** Bytes that a connection may have unsent before its session waits. */
const FULL_BYTES = 256 * 1024;
/** A failed reload is repeated after this time. */
const RELOAD_PAUSE_MS = 1_000;
/** A CONNECT waits this long for its session. After that, the client is refused and should try another node. */
const CONNECT_TIMEOUT_MS = 5_000;
/** Stopping waits this long for the last rows. */
const STOP_TIMEOUT_MS = 1_000;
/** Sessions that a report of damage names. The log names all. */
const MAX_NAMED = 10;

/** A client of Aedes, as far as the store uses it. */
interface LogClient extends Session {
  conn: { readonly writableLength: number; once(event: "close", listener: () => void): unknown } & {
    on(event: "drain", listener: () => void): unknown;
  };
  publish(packet: object, done: () => void): void;
}

interface LogStorageOptions extends StorageOptions {
  log: MqttLog;
  /** Whether the client may receive the publication now. */
  mayReceive(client: object, publication: LoggedPublication): boolean;
  /**
   * Closes this node's connections of the client, except a connection that has not got its session yet. Undefined: of
   * all clients. @param isReplaced the client has connected to another node
   */
  closeClients(client: string | undefined, isReplaced?: boolean): void;
  /** Whether a connection to this node uses the session key. */
  isConnected(key: string): boolean;
  /** Called when damage is found, which is also logged. */
  onDamage?: OnDamage | undefined;
}

/** The connection of a session, which sends publications of the log through Aedes. */
class LogConnection implements SessionConnection {
  readonly #client: LogClient;
  readonly #mayReceive: LogStorageOptions["mayReceive"];
  /** PUBRELs that Aedes has not written yet. */
  unsentReleases = 0;

  constructor(client: LogClient, mayReceive: LogStorageOptions["mayReceive"]) {
    this.#client = client;
    this.#mayReceive = mayReceive;
  }

  get isFull(): boolean {
    return this.#client.conn.writableLength > FULL_BYTES;
  }

  mayReceive(publication: LoggedPublication): boolean {
    return this.#mayReceive(this.#client, publication);
  }

  send({ publication, qos, dup, onWritten }: SessionDelivery): void {
    const { topic, payload, position: brokerCounter } = publication;
    const packet = { cmd: "publish", topic, payload, qos, retain: false, dup, brokerId: LOG_ID, brokerCounter };
    this.#client.publish(packet, onWritten);
  }
}

/**
 * Sessions, retained messages and wills in the journal's store, where the publications are. Aedes sees an object that
 * stores nothing for a session: no message is queued, because each session is a cursor over the log.
 */
class LogStorage implements BrokerStorage {
  readonly #options: LogStorageOptions;
  readonly #sessions: LogSessions;
  readonly #wills: LogWills;
  readonly #incoming = new IncomingIds();
  /** Serializes the creation and discarding of each session. */
  readonly #lifetimes = new KeyedQueue();
  /** Serializes the answers to SUBSCRIBE and UNSUBSCRIBE of each session. */
  readonly #filterChanges = new KeyedQueue();
  readonly #connections = new WeakMap<object, LogConnection>();
  /** Resolves when what the log has is loaded. */
  #loading: Promise<void> = Promise.resolve();
  #isClosed = false;
  #stopFollowing = () => {};
  readonly retained: LogRetained;
  readonly deliveries: LogDeliveries;
  readonly brokerId = `b${randomBytes(9).toString("base64url")}`;

  constructor(options: LogStorageOptions) {
    const { log, wills, logger } = options;
    this.#options = options;
    this.#sessions = new LogSessions(options);
    let unloggedId = LAST_ID;
    this.deliveries = {
      logId: LOG_ID,
      messageIdAt: ({ id }, position) => this.#sessions.get(id)?.cursor.messageIdAt(position),
      nextUnloggedId: ({ id }) => {
        const cursor = this.#sessions.get(id)?.cursor;
        // Sessions of earlier versions may hold any id.
        for (let tries = FIRST_UNLOGGED_ID; tries <= LAST_ID; tries++) {
          unloggedId = unloggedId >= LAST_ID ? FIRST_UNLOGGED_ID : unloggedId + 1;
          if (cursor?.hasId(unloggedId) !== true) break;
        }
        return unloggedId;
      },
    };
    this.retained = new LogRetained(log.publications);
    this.#wills = new LogWills({
      ...{ rows: log.rows, wills, brokerId: this.brokerId, logger },
      onGone: (client) => this.release(client),
    });
  }

  /** Called by Aedes when it starts. Aedes demands an async function. */
  async setup(): Promise<void> {}

  async load(): Promise<void> {
    const { log } = this.#options;
    log.onReset(() => {
      this.#loading = this.#loading.then(() => this.#reload());
    });
    const loaded = await this.#loadSessions();
    await Promise.all([this.retained.load(), this.#wills.load(), this.#loadIncomingIds()]);
    this.#reportLosses(loaded);
  }

  async #loadSessions(): ReturnType<LogSessions["load"]> {
    this.#stopFollowing();
    const loaded = await this.#sessions.load();
    this.#stopFollowing = this.#options.log.rows.follow({
      onTaken: (client, row) => this.#onTaken(client, row),
      onLeft: (client, row) => this.#onLeft(client, row),
      onRemoved: (client) => this.#onRemoved(client),
      onWill: (client, row) => this.#wills.adopt(client, row),
    });
    return loaded;
  }

  /** This node has missed publications. Its clients reconnect immediately, and their sessions continue. */
  async #reload(): Promise<void> {
    this.#options.closeClients(undefined);
    for (let isLoaded = false; !isLoaded && !this.#isClosed; ) {
      try {
        this.#reportLosses(await this.#loadSessions());
        this.#incoming.clearAll();
        await Promise.all([this.retained.load(), this.#loadIncomingIds()]);
        isLoaded = true;
      } catch (err) {
        this.#options.logger.error({ err }, "MQTT sessions cannot be loaded again, retrying");
        await new Promise((resolve) => setTimeout(resolve, RELOAD_PAUSE_MS));
      }
    }
  }

  #reportLosses({ unreadable, missed }: { unreadable: readonly string[]; missed: readonly string[] }): void {
    if (missed.length > 0) this.#reportMissed(missed);
    const { log, logger, onDamage } = this.#options;
    if (unreadable.length === 0) return;
    for (const key of unreadable) log.rows.set(`session:${key}`, undefined);
    const named = unreadable.map(describeSession);
    logger.error({ sessions: named }, "MQTT sessions lost: records missing or unreadable");
    onDamage?.({
      store: "journal",
      found: "sessions whose records are unreadable",
      missing: `the sessions ${named.join(", ")} are lost: their clients must subscribe again`,
    });
  }

  #reportMissed(missed: readonly string[]): void {
    const named = missed.slice(0, MAX_NAMED).map(describeSession).join(", ");
    const rest = missed.length > MAX_NAMED ? `, and ${missed.length - MAX_NAMED} more` : "";
    this.#options.onDamage?.({
      store: "journal",
      found: "publications are lost that MQTT sessions had not received",
      missing: `${missed.length} sessions may have missed messages: ${named}${rest}`,
    });
  }

  async #loadIncomingIds(): Promise<void> {
    for await (const { session, messageId } of this.#options.log.incomingIds()) this.#incoming.add(session, messageId);
  }

  // Sessions and their owners

  get sessions(): number {
    return this.#sessions.size;
  }

  get queues(): BrokerStorage["queues"] {
    return { totals: this.#sessions.totals, dropped: this.#sessions.dropped };
  }

  ownerOf(key: string): SessionOwner | undefined {
    return this.#sessions.get(key)?.owner;
  }

  keep(key: string, owner: SessionOwner): Promise<NotKept | undefined> {
    return this.#connecting(key, () => this.#keep(key, owner));
  }

  async #keep(key: string, owner: SessionOwner): Promise<NotKept | undefined> {
    await this.#take(key);
    const { maxSessions, maxSessionsPerUser } = this.#options;
    const known = this.#sessions.get(key);
    if (known?.owner.identity !== owner.identity) {
      if (this.#sessions.countOf(owner.identity) >= maxSessionsPerUser) return "MAX_MQTT_SESSIONS_PER_USER";
      if (known === undefined && this.#sessions.size >= maxSessions) return "MAX_MQTT_SESSIONS";
      if (known !== undefined) await this.#discard(key);
    }
    this.#sessions.keep(key, owner);
    await this.#sessions.store(key);
    this.#assertWriter(key);
    return undefined;
  }

  async left(key: string): Promise<void> {
    this.#sessions.left(key);
  }

  discard(key: string): Promise<void> {
    return this.#connecting(key, async () => {
      await this.#take(key);
      await this.#discard(key);
    });
  }

  /** @throws {RefusedConnectionError} the store does not answer in time */
  #connecting<Result>(key: string, task: () => Promise<Result>): Promise<Result> {
    // If the store answers too late, no connection uses the key any more.
    const running = this.#lifetimes.run(key, () => task().finally(() => this.release(key)));
    return inTime(running, CONNECT_TIMEOUT_MS, () => unavailable("the store does not answer"));
  }

  /** No connection to this node uses the key any more. */
  release(key: string): void {
    // As long as the client's will is stored, this node has to publish the will.
    if (this.#options.isConnected(key) || this.#wills.has(key)) return;
    this.#sessions.save(key);
    this.#options.log.rows.release(key);
  }

  /** The client connects to this node, and continues the session that another node may have written. */
  async #take(key: string): Promise<void> {
    const { rows } = this.#options.log;
    await this.#loading;
    const taken = await rows.take(key).catch((error: unknown) => {
      throw error instanceof StoreUnavailableError ? unavailable(error.message) : error;
    });
    this.#assertWriter(key);
    if (taken === undefined) return;
    if (!taken.isNewest) this.#sessions.replace(key, taken.session);
    this.#incoming.clear(key);
    for (const messageId of taken.incomingIds) this.#incoming.add(key, messageId);
  }

  /** @throws {RefusedConnectionError} another node writes the client's rows now */
  #assertWriter(key: string): void {
    if (this.#options.log.rows.writerOf(key) !== "this") throw unavailable("the client has connected to another node");
  }

  #onTaken(key: string, row: string | undefined): void {
    this.#sessions.taken(key, row);
    this.#incoming.clear(key);
    this.#wills.forget(key);
    this.#options.closeClients(key, true);
  }

  #onRemoved(key: string): void {
    this.#sessions.forget(key);
    this.#incoming.clear(key);
    this.#wills.forget(key);
    this.#options.closeClients(key);
  }

  #onLeft(key: string, row: string): void {
    this.#wills.forget(key);
    this.#sessions.replace(key, row);
    this.#options.closeClients(key);
  }

  /** @returns whether the session is discarded: another node may have changed it just now */
  async #discard(key: string): Promise<boolean> {
    if (this.#options.log.rows.writerOf(key) === "this") await this.cleanIncoming({ id: key });
    if (this.#sessions.get(key) !== undefined && !(await this.#sessions.remove(key))) return false;
    this.#incoming.clear(key);
    return true;
  }

  expire(moment: number, isConnected: (key: string) => boolean): Promise<number> {
    for (const { key } of this.#sessions.entries()) if (isConnected(key)) this.#sessions.left(key);
    return this.#discardWhere(({ seenAt, key, isElsewhere }) => seenAt < moment && !isElsewhere && !isConnected(key));
  }

  discardWhere(matches: (owner: SessionOwner) => boolean): Promise<number> {
    return this.#discardWhere(({ owner }) => matches(owner));
  }

  async #discardWhere(matches: (session: LogSession) => boolean): Promise<number> {
    let discarded = 0;
    for (const session of this.#sessions.entries()) {
      if (!matches(session)) continue;
      await this.#lifetimes.run(session.key, async () => {
        // The owner may have reconnected meanwhile.
        const now = this.#sessions.get(session.key);
        if (now === undefined || !matches(now)) return;
        if (await this.#discard(session.key)) discarded++;
      });
    }
    return discarded;
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
      if (this.#sessions.get(key) !== undefined) this.#assertWriter(key);
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
      if (packet.brokerId === LOG_ID) packet.qos = cursor.qosAt(packet.brokerCounter) ?? packet.qos;
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
    this.#sessions.prepare(session);
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

  async cleanIncoming({ id }: Session): Promise<void> {
    const ids = this.#incoming.of(id);
    this.#incoming.clear(id);
    if (ids.length > 0) await this.#options.log.removeIncomingIds(ids.map((messageId) => ({ session: id, messageId })));
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

  async destroy(): Promise<void> {
    this.#isClosed = true;
    const stopping = inTime(this.#sessions.stop(), STOP_TIMEOUT_MS, () => new Error("the store does not answer"));
    await stopping.catch((err: unknown) => {
      this.#options.logger.warn({ err }, "sessions not stored at the end: messages will be repeated");
    });
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

function unavailable(why: string): RefusedConnectionError {
  return new RefusedConnectionError(ConnackCode.serverUnavailable, why);
}

function isLogClient(client: Session): client is LogClient {
  return "conn" in client && "publish" in client;
}

/** @throws {StoreUnavailableError} the store cannot be read */
export async function openLogStorage(options: LogStorageOptions): Promise<LogStorage> {
  const storage = new LogStorage(options);
  await storage.load();
  return storage;
}

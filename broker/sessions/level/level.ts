import { Readable } from "node:stream";
import type { Brokers, Subscription } from "aedes";
import AsyncLevelPersistence from "aedes-persistence-level/asyncPersistence.js";
import type { ClassicLevel } from "classic-level";
import type { Logger } from "pino";
import { z } from "zod";
import { KeyedQueue } from "../../../platform/keyed-queue.ts";
import type { OnDamage } from "../../../platform/level/damage.ts";
import { type Loss, openStore, repairStore } from "../../../platform/level/open-store.ts";
import { namesIn } from "../../../platform/level/scan.ts";
import type { NotKept } from "../../access/authenticate.ts";
import type { PermissionSet } from "../../access/permission-sets.ts";
import { describeSession } from "../../access/session-names.ts";
import { bearerSchema, ownerOf, type SessionOwner } from "../../access/session-owner.ts";
import type { Wills } from "../../access/wills.ts";
import type { KeptPacket } from "../../aedes/packet-codec.ts";
import { IncomingIds } from "../incoming-ids.ts";
import { OutgoingQueues } from "../outgoing-queues.ts";
import { Replays } from "../replays.ts";
import { RetainedMessages } from "../retained-messages.ts";
import { type SessionRecord, SessionRecords } from "../session-records.ts";
import { StoredSubscriptions } from "../stored-subscriptions.ts";

type Session = AsyncLevelPersistence.Session;
type StoredPacket = AsyncLevelPersistence.StoredPacket;
type StoredSubscription = AsyncLevelPersistence.StoredSubscription;

const BOOT_KEY = "boot";
const SUBSCRIPTIONS = "subscriptions:";
const SUBSCRIPTIONS_END = "subscriptions;";

interface LevelStorageOptions {
  /** The folder of the database; made when it is not there. */
  path: string;
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
  /** Called when something is found to be damaged. Default: the log alone says so. */
  onDamage?: OnDamage | undefined;
  /** The clock by which sessions age, milliseconds since 1970. */
  now: () => number;
  logger: Logger;
}

/**
 * MQTT sessions and retained messages in LevelDB: aedes-persistence-level, with what it does wrong put right here and
 * in the files beside this one. Each override says what.
 *
 * Writes are not synced one by one: they survive the end of the program, however it ends. What a power cut may take
 * is made good by the journal, which is synced: it publishes again what was not marked as emitted.
 */
class LevelStorage extends AsyncLevelPersistence {
  readonly #db: ClassicLevel<string, Buffer>;
  readonly #options: LevelStorageOptions;
  readonly #subscriptions = new StoredSubscriptions();
  readonly #incoming = new IncomingIds();
  readonly #records: SessionRecords;
  readonly #tasks = new KeyedQueue();
  /** One after the other for each session: what makes it, and what ends it. */
  readonly #lives = new KeyedQueue();
  readonly #sets = new WeakMap<SessionRecord, PermissionSet>();
  readonly retained: RetainedMessages;
  readonly queues: OutgoingQueues;
  readonly #replays: Replays;
  #brokerId = "";
  #lastDispatched = (): number => 0;

  constructor(db: ClassicLevel<string, Buffer>, options: LevelStorageOptions) {
    super(db);
    this.#db = db;
    this.#options = options;
    const { logger } = options;
    this.#records = new SessionRecords(db);
    this.retained = new RetainedMessages({ db, maxMessages: options.maxRetainedMessages, logger });
    this.queues = new OutgoingQueues({
      db,
      maxMessages: options.maxOfflineMessages,
      maxBytes: options.maxOfflineBytes,
      wantsReceipt: options.wantsReceipt,
      logger,
    });
    this.#replays = new Replays({
      queues: this.queues,
      brokerId: () => this.#brokerId,
      lastDispatched: () => this.#lastDispatched(),
    });
  }

  /** Called by Aedes when it starts. */
  override async setup(broker: { id: string; readonly lastDispatched: number }): Promise<void> {
    this.#lastDispatched = () => broker.lastDispatched;
    await super.setup(broker);
  }

  /** A name for this run of the broker that sorts after those of all runs before. */
  get brokerId(): string {
    return this.#brokerId;
  }

  /** Sessions that outlive their connections. */
  get sessions(): number {
    return this.#records.size;
  }

  async load(): Promise<void> {
    const [unreadable] = await Promise.all([
      this.#records.load(),
      this.#incoming.load(this.#db),
      this.retained.load(),
      this.queues.load(),
      this.#loadSubscriptions(),
    ]);
    await this.#discardOwnerless(unreadable);
    // A random id replays queues out of order, a fixed one overwrites their keys. The clock alone would do, were it not
    // set back now and then: a Raspberry Pi starts without knowing the time.
    const last = Number((await this.#db.get(BOOT_KEY))?.toString() ?? 0);
    const boot = Math.max(Date.now(), last + 1);
    await this.#db.put(BOOT_KEY, Buffer.from(String(boot)));
    this.#brokerId = `b${String(boot).padStart(16, "0")}`;
  }

  /**
   * Without its record a session is lost: whose it was is not known, and who next comes by its name must not inherit it.
   * The record is written before all else of a session and removed after it, so only damage takes it alone.
   */
  async #discardOwnerless(unreadable: readonly string[]): Promise<void> {
    const keys = new Set([...unreadable, ...this.#subscriptions.clientIds(), ...this.queues.clientIds()]);
    const sessions = [...keys].filter((key) => this.#records.get(key) === undefined);
    if (sessions.length === 0) return;
    for (const id of sessions) {
      await this.queues.discard(id);
      await this.cleanSubscriptions({ id });
      await this.cleanIncoming({ id });
      await this.#records.erase(id);
    }
    const named = sessions.map(describeSession);
    this.#options.logger.error(
      { sessions: named },
      "MQTT sessions are lost: their records are missing or cannot be read",
    );
    this.#options.onDamage?.({
      store: "mqtt",
      found: "sessions whose records are missing or cannot be read",
      missing: `the sessions ${named.join(", ")} are lost: their clients are to subscribe again`,
    });
  }

  // Sessions and their owners

  ownerOf(key: string): SessionOwner | undefined {
    return this.#records.get(key);
  }

  keep(key: string, owner: SessionOwner): Promise<NotKept | undefined> {
    return this.#lives.run(key, async () => {
      const { maxSessions, maxSessionsPerUser } = this.#options;
      const known = this.#records.get(key);
      if (known?.identity !== owner.identity) {
        if (this.#records.countOf(owner.identity) >= maxSessionsPerUser) return "MAX_MQTT_SESSIONS_PER_USER";
        if (known === undefined && this.#records.size >= maxSessions) return "MAX_MQTT_SESSIONS";
        if (known !== undefined) await this.#discard(key);
      }
      await this.#records.put(key, { ...ownerOf(owner), seenAt: this.#options.now() });
      return undefined;
    });
  }

  /** Its client has left: from now the session ages. */
  left(key: string): Promise<void> {
    return this.#lives.run(key, async () => {
      const record = this.#records.get(key);
      if (record !== undefined) await this.#records.put(key, { ...record, seenAt: this.#options.now() });
    });
  }

  discard(key: string): Promise<void> {
    return this.#lives.run(key, () => this.#discard(key));
  }

  async #discard(key: string): Promise<void> {
    const client = { id: key };
    const isKept = this.#records.get(key) !== undefined;
    // First, so that nothing more is queued for it. On disk last: a crash in between leaves a session to be discarded again.
    this.#records.forget(key);
    if (isKept) {
      await this.cleanSubscriptions(client);
      await this.cleanIncoming(client);
    }
    await this.queues.discard(key);
    if (isKept) await this.#records.erase(key);
  }

  /** Discards the sessions that nobody has used since the moment. @returns how many */
  expire(moment: number, isConnected: (key: string) => boolean): Promise<number> {
    return this.#discardWhere(({ seenAt }, key) => seenAt < moment && !isConnected(key));
  }

  discardWhere(matches: (owner: SessionOwner) => boolean): Promise<number> {
    return this.#discardWhere(matches);
  }

  async #discardWhere(matches: (record: SessionRecord, key: string) => boolean): Promise<number> {
    let discarded = 0;
    for (const [key, record] of this.#records.entries()) {
      if (!matches(record, key)) continue;
      await this.#lives.run(key, async () => {
        // Its owner may have come back meanwhile.
        const now = this.#records.get(key);
        if (now === undefined || !matches(now, key)) return;
        await this.#discard(key);
        discarded++;
      });
    }
    return discarded;
  }

  // Retained messages

  override storeRetained(packet: StoredPacket): Promise<void> {
    return this.retained.store(kept(packet));
  }

  override createRetainedStream(filter: string): Readable {
    return this.createRetainedStreamCombi([filter]);
  }

  override createRetainedStreamCombi(filters: string[]): Readable {
    return Readable.from(this.#readRetained(filters), { highWaterMark: 1 });
  }

  /** Ends where the base throws: Aedes does not listen to the stream's errors, and the process would end instead. */
  async *#readRetained(filters: string[]): AsyncGenerator<KeptPacket> {
    try {
      yield* this.retained.read(filters);
    } catch (error) {
      this.#options.logger.error({ err: error }, "retained messages could not be read");
    }
  }

  // Subscriptions

  async #loadSubscriptions(): Promise<void> {
    const clientIds = new Set<string>();
    for await (const key of this.#db.keys({ gte: SUBSCRIPTIONS, lt: SUBSCRIPTIONS_END })) {
      const [, clientId = ""] = key.split(":", 2);
      clientIds.add(decodeURIComponent(clientId));
    }
    for (const id of clientIds) {
      for (const { topic, qos } of await super.subscriptionsByClient({ id })) this.#subscriptions.set(id, topic, qos);
    }
  }

  /**
   * Aedes hands all filters of a SUBSCRIBE, the refused ones too, once for each that is granted. The base stores them
   * all: what a client may not read would be queued for it. Here only what its owner may have is stored, and once.
   *
   * Messages are queued from the moment this resolves, when Aedes begins to deliver them too. Were it earlier, one that
   * is published meanwhile would lie in the queue until the client connects again, and come after newer ones.
   */
  override addSubscriptions(client: Session, subscriptions: Subscription[]): Promise<void> {
    return this.#tasks.run(client.id, async () => {
      const set = this.#setOf(client.id);
      if (set === undefined) return;
      const known = this.#subscriptions.filtersOf(client.id);
      const added: Subscription[] = [];
      let room = this.#options.maxSubscriptions - known.size;
      for (const { topic, qos } of subscriptions) {
        const before = known.get(topic);
        if (before?.qos === qos || set.subscribeProblem(topic) !== undefined) continue;
        if (before === undefined && room-- <= 0) continue;
        added.push({ topic, qos });
      }
      if (added.length === 0) return;
      await super.addSubscriptions(client, added);
      for (const { topic, qos } of added) this.#subscriptions.set(client.id, topic, qos);
    });
  }

  override removeSubscriptions(client: Session, filters: string[]): Promise<void> {
    return this.#tasks.run(client.id, async () => {
      const known = this.#subscriptions.filtersOf(client.id);
      const stored = filters.filter((filter) => known.has(filter));
      if (stored.length > 0) await this.#removeSubscriptions(client, stored);
    });
  }

  async #removeSubscriptions(client: Session, filters: string[]): Promise<void> {
    for (const filter of filters) this.#subscriptions.delete(client.id, filter);
    await super.removeSubscriptions(client, filters);
  }

  override subscriptionsByClient(client: Session): Promise<Subscription[]> {
    return this.#tasks.run(client.id, async () =>
      [...this.#subscriptions.filtersOf(client.id)].map(([topic, { qos }]) => ({ topic, qos })),
    );
  }

  override cleanSubscriptions(client: Session): Promise<void> {
    return this.#tasks.run(client.id, async () => {
      const filters = [...this.#subscriptions.filtersOf(client.id).keys()];
      if (filters.length > 0) await this.#removeSubscriptions(client, filters);
    });
  }

  /** The sessions that queue the message: those whose owner may read it, now and not only when it subscribed. */
  override async subscriptionsByTopic(topic: string): Promise<StoredSubscription[]> {
    return this.#subscriptions.match(topic).filter(({ clientId }) => this.#setOf(clientId)?.mayRead(topic));
  }

  #setOf(clientId: string): PermissionSet | undefined {
    const record = this.#records.get(clientId);
    if (record === undefined) return undefined;
    let set = this.#sets.get(record);
    if (set === undefined) {
      set = this.#options.permissionsOf(record.permissions);
      this.#sets.set(record, set);
    }
    return set;
  }

  // Messages to clients

  override outgoingEnqueue(subscription: StoredSubscription, packet: StoredPacket): Promise<void> {
    return this.outgoingEnqueueCombi([subscription], packet);
  }

  override outgoingEnqueueCombi(subscriptions: StoredSubscription[], packet: StoredPacket): Promise<void> {
    return this.queues.enqueue(subscriptions, kept(packet));
  }

  override outgoingUpdate(client: Session, packet: AsyncLevelPersistence.OutgoingUpdate): Promise<void> {
    // After a PUBREC Aedes names the message by its id alone.
    if (packet.brokerId !== undefined) this.#replays.sent(client);
    // The session was discarded, and what is still on its way to the client belongs to none.
    if (this.#records.get(client.id) === undefined) return Promise.resolve();
    if (packet.cmd === "publish") {
      // Aedes lowers it for a filter of QoS 0 that is the topic itself, though another of the client's is higher: it
      // would be sent without being acknowledged, and be sent again with every connection.
      if (packet.qos === 0) packet.qos = 1;
      return this.queues.send(client.id, kept(packet), packet.messageId);
    }
    const { messageId, brokerId, brokerCounter } = packet;
    const stored = brokerId === undefined || brokerCounter === undefined ? undefined : { brokerId, brokerCounter };
    return this.queues.release(client.id, messageId, stored);
  }

  override async outgoingClearMessageId(client: Session, packet: AsyncLevelPersistence.Cleared): Promise<unknown> {
    const { messageId, brokerId, brokerCounter } = packet;
    if (messageId !== undefined) {
      if (client.clean !== true) return this.queues.acknowledge(client.id, messageId);
      return this.#options.takeReceipt(client, messageId);
    }
    // A delivery that is not made. If it was refused or left to the queue, the message stays there.
    if (client.clean === true || brokerId === undefined || brokerCounter === undefined) return undefined;
    if (!this.#options.wasForwarded(client, brokerCounter)) return undefined;
    // The other delivery, if it is of QoS 1 or 2, enters the message as sent within this turn of the event loop.
    await new Promise((resolve) => setImmediate(resolve));
    if (client.closed !== true) await this.queues.dismiss(client.id, { brokerId, brokerCounter });
    return undefined;
  }

  /** The messages of the queue, and with them those that are published until it has been read to its end. */
  override outgoingStream(client: Session): Readable {
    return Readable.from(this.#replays.read(client), { highWaterMark: 1 });
  }

  /** Whether a publication that the session queues must not be delivered to its client now, for the queue brings it. */
  isDeliveredFromQueue(client: Session, brokerCounter: number): boolean {
    return this.#replays.holds(client, brokerCounter);
  }

  // Messages from clients, QoS 2

  isIncoming(clientId: string, messageId: number): boolean {
    return this.#incoming.has(clientId, messageId);
  }

  /** Without its payload: it has been forwarded when this is asked for, only the id is needed to know a repetition. */
  override incomingStorePacket(client: Session, packet: StoredPacket): Promise<void> {
    const { cmd, topic, qos, retain, dup, brokerId, brokerCounter, messageId } = packet;
    if (messageId !== undefined) this.#incoming.add(client.id, messageId);
    const payload = NO_PAYLOAD;
    return super.incomingStorePacket(client, {
      cmd,
      topic,
      payload,
      qos,
      retain,
      dup,
      brokerId,
      brokerCounter,
      messageId,
    });
  }

  override async incomingGetPacket(client: Session, packet: { messageId?: number }): Promise<unknown> {
    if (packet.messageId === undefined || !this.#incoming.has(client.id, packet.messageId)) {
      throw new Error("no such packet");
    }
    return packet;
  }

  override async incomingDelPacket(client: Session, packet: { messageId?: number }): Promise<void> {
    await super.incomingDelPacket(client, packet);
    if (packet.messageId !== undefined) this.#incoming.delete(client.id, packet.messageId);
  }

  override async cleanIncoming(client: Session): Promise<void> {
    if (!this.#incoming.any(client.id)) return;
    this.#incoming.clear(client.id);
    await super.cleanIncoming(client);
  }

  // Wills

  /** With its owner, for the next run of the broker may have to publish it. */
  override putWill(client: Session, will: object): Promise<void> {
    this.#options.wills.stored(client.id);
    return super.putWill(client, { ...will, ...this.#options.wills.bearerOf(will) });
  }

  /** The base deletes with the will of a connection that was taken over that of the one which took over. */
  override async delWill(client: Session & { brokerId?: string }): Promise<unknown> {
    const { wills } = this.#options;
    // Aedes names the broker when a connection has ended, and not when a client connects.
    if (client.brokerId === this.#brokerId && wills.released(client.id)) return undefined;
    return wills.consumeKept(client.id) ? undefined : super.delWill(client);
  }

  /** The wills of clients of runs that ended without publishing them. */
  override streamWill(brokers: Brokers = {}): Readable {
    return Readable.from(this.#orphanedWills(brokers));
  }

  async *#orphanedWills(brokers: Brokers): AsyncGenerator<object> {
    const { wills } = this.#options;
    wills.expirePublishing();
    try {
      for await (const stored of super.streamWill()) {
        const read = willSchema.safeParse(stored);
        if (!read.success || read.data.brokerId === this.#brokerId || brokers[read.data.brokerId] !== undefined)
          continue;
        // Without the id of its run: together with a counter of this run it would name, and overwrite, a queued message.
        const { brokerId: _, clientId, topic, payload, qos, retain, ...bearer } = read.data;
        const will = { clientId, topic, payload, qos, retain };
        if (wills.isPublishing(clientId)) continue;
        const owner = { key: clientId, bearer };
        if (wills.isVoid(owner)) {
          await super.delWill({ id: clientId });
          continue;
        }
        wills.assign(will, owner);
        wills.beginPublishing(clientId);
        yield will;
      }
    } catch (error) {
      this.#options.logger.error({ err: error }, "stored wills could not be read");
    }
  }
}

const willSchema = bearerSchema.extend({
  /** The name of its client's session: Aedes calls it so. */
  clientId: z.string(),
  brokerId: z.string(),
  topic: z.string(),
  payload: z.instanceof(Buffer),
  qos: z.union([z.literal(0), z.literal(1), z.literal(2)]),
  retain: z.boolean(),
});

const NO_PAYLOAD = Buffer.alloc(0);

function kept({ topic, payload, qos, retain, dup, brokerId, brokerCounter, messageId }: StoredPacket): KeptPacket {
  return {
    cmd: "publish",
    topic,
    payload: typeof payload === "string" ? Buffer.from(payload) : payload,
    qos,
    retain,
    dup,
    brokerId,
    brokerCounter,
    messageId,
  };
}

const LEVEL = { keyEncoding: "utf8", valueEncoding: "buffer" } as const;
const SESSION_KEY_START = /(?:session|subscriptions|outgoing|incoming|will):/g;

/** Whose session a key is of. */
function sessionOf(key: string): string | undefined {
  const [kind, name = ""] = key.split(":");
  if (name === "") return undefined;
  // The record's key holds the client id as it is; the others hold it encoded, for more follows.
  return kind === "session" ? key.slice("session:".length) : safelyDecoded(name);
}

/**
 * Opens the database and reads what must be in memory. What is damaged is repaired, and who may have missed something
 * because of it is named.
 * @throws {StoreUnusableError} it cannot be opened; the message says what to do
 */
export async function openLevelStorage(options: LevelStorageOptions): Promise<LevelStorage> {
  const { path: folder, logger } = options;
  const store = { folder, what: "the store of MQTT sessions", level: LEVEL };
  let { db, loss } = await openStore<Buffer>(store);
  let storage = new LevelStorage(db, options);
  try {
    await storage.load();
  } catch (error) {
    await db.close();
    logger.error({ err: error }, "the store of MQTT sessions cannot be read, repairing it");
    ({ db, loss } = await repairStore<Buffer>(store, error));
    storage = new LevelStorage(db, options);
    await storage.load();
  }
  if (loss !== undefined) tellLoss(loss, options);
  return storage;
}

function tellLoss({ reason, ranges, logParts, isBounded }: Loss, { onDamage, logger }: LevelStorageOptions): void {
  const sessions = namesIn(logParts, SESSION_KEY_START, sessionOf);
  const rows = ranges.map(({ from, to }) => `rows from ${from || "the first"} to ${to}`);
  const which = [...sessions, ...rows];
  const whose =
    which.length === 0 || !isBounded ? `any session, certainly ${which.join(", ") || "none"}` : which.join(", ");
  logger.error(
    { loss: reason, sessions, rows },
    "the store of MQTT sessions is damaged: sessions may be lost, or may have missed messages",
  );
  onDamage?.({
    ...{ store: "mqtt", found: reason },
    missing: `sessions, queued or retained messages may be missing (${whose}): their clients are to subscribe again`,
  });
}

function safelyDecoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

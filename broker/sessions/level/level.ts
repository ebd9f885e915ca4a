import { Readable } from "node:stream";
import type { Brokers, Subscription } from "aedes";
import AsyncLevelPersistence from "aedes-persistence-level/asyncPersistence.js";
import type { ClassicLevel } from "classic-level";
import { z } from "zod";
import { KeyedQueue } from "../../../platform/keyed-queue.ts";
import type { OnDamage } from "../../../platform/level/damage.ts";
import { type Loss, openStore, repairStore } from "../../../platform/level/open-store.ts";
import { namesIn } from "../../../platform/level/scan.ts";
import type { NotKept } from "../../access/authenticate.ts";
import type { PermissionSet } from "../../access/permission-sets.ts";
import { describeSession } from "../../access/session-names.ts";
import { ownerOf, type SessionOwner } from "../../access/session-owner.ts";
import { IncomingIds } from "../incoming-ids.ts";
import { OutgoingQueues } from "../outgoing-queues.ts";
import { Replays } from "../replays.ts";
import { RetainedMessages } from "../retained-messages.ts";
import { type SessionRecord, SessionRecords } from "../session-records.ts";
import {
  type Cleared,
  kept,
  type OutgoingUpdate,
  type Session,
  type StorageOptions,
  type StoredPacket,
  type StoredSubscription,
  safely,
  storedWillSchema,
} from "../storage.ts";
import { StoredSubscriptions } from "../stored-subscriptions.ts";

const BOOT_KEY = "boot";
const SUBSCRIPTIONS = "subscriptions:";
const SUBSCRIPTIONS_END = "subscriptions;";

interface LevelStorageOptions extends StorageOptions {
  /** The folder of the database; created when missing. */
  path: string;
  /** Called when damage is found, which is also logged. */
  onDamage?: OnDamage | undefined;
}

/**
 * MQTT sessions and retained messages in LevelDB. The overrides correct faults of aedes-persistence-level.
 *
 * Writes are not synced to disk individually, so a power failure may lose the newest ones. The journal does sync its
 * writes: after a power failure, it publishes every message again that was not marked as delivered.
 */
class LevelStorage extends AsyncLevelPersistence {
  readonly #db: ClassicLevel<string, Buffer>;
  readonly #options: LevelStorageOptions;
  readonly #subscriptions = new StoredSubscriptions();
  readonly #incoming = new IncomingIds();
  readonly #records: SessionRecords;
  readonly #tasks = new KeyedQueue();
  /** Serializes the creation and discarding of each session. */
  readonly #lifetimes = new KeyedQueue();
  readonly #sets = new WeakMap<SessionRecord, PermissionSet>();
  readonly retained: RetainedMessages;
  readonly queues: OutgoingQueues;
  readonly #replays: Replays;
  brokerId = "";
  #lastDispatched = (): number => 0;

  constructor(db: ClassicLevel<string, Buffer>, options: LevelStorageOptions) {
    super(db);
    this.#db = db;
    this.#options = options;
    const { logger, maxOfflineMessages: maxMessages, maxOfflineBytes: maxBytes, wantsReceipt } = options;
    this.#records = new SessionRecords(db);
    const order = { brokerId: () => this.brokerId, lastDispatched: () => this.#lastDispatched() };
    this.retained = new RetainedMessages({ db, maxMessages: options.maxRetainedMessages, logger, ...order });
    this.queues = new OutgoingQueues({ db, maxMessages, maxBytes, wantsReceipt, logger });
    this.#replays = new Replays({ queues: this.queues, ...order });
  }

  /** Called by Aedes when it starts. */
  override async setup(broker: { id: string; readonly lastDispatched: number }): Promise<void> {
    this.#lastDispatched = () => broker.lastDispatched;
    await super.setup(broker);
  }

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
    // Queued messages are sorted by this id: a random id would mix up their order, and a fixed id would overwrite
    // messages of earlier runs. The clock may be wrong: a Raspberry Pi boots without knowing the time.
    const last = Number((await this.#db.get(BOOT_KEY))?.toString() ?? 0);
    const boot = Math.max(Date.now(), last + 1);
    await this.#db.put(BOOT_KEY, Buffer.from(String(boot)));
    this.brokerId = `b${String(boot).padStart(16, "0")}`;
  }

  /** Discards sessions whose record is damaged or lost: their owners are unknown. */
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
    this.#options.logger.error({ sessions: named }, "MQTT sessions lost: records missing or unreadable");
    this.#options.onDamage?.({
      store: "mqtt",
      found: "sessions whose records are missing or unreadable",
      missing: `the sessions ${named.join(", ")} are lost: their clients must subscribe again`,
    });
  }

  // Sessions and their owners

  ownerOf(key: string): SessionOwner | undefined {
    return this.#records.get(key);
  }

  keep(key: string, owner: SessionOwner): Promise<NotKept | undefined> {
    return this.#lifetimes.run(key, async () => {
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

  left(key: string): Promise<void> {
    return this.#lifetimes.run(key, async () => {
      const record = this.#records.get(key);
      if (record !== undefined) await this.#records.put(key, { ...record, seenAt: this.#options.now() });
    });
  }

  release(): void {}

  discard(key: string): Promise<void> {
    return this.#lifetimes.run(key, () => this.#discard(key));
  }

  async #discard(key: string): Promise<void> {
    const client = { id: key };
    const isKept = this.#records.get(key) !== undefined;
    // The record is removed from memory first, so that nothing more is queued. It is erased from disk last, so that the
    // next start finishes a discard that a crash has interrupted.
    this.#records.forget(key);
    if (isKept) {
      await this.cleanSubscriptions(client);
      await this.cleanIncoming(client);
    }
    await this.queues.discard(key);
    if (isKept) await this.#records.erase(key);
  }

  expire(moment: number, isConnected: (key: string) => boolean): Promise<number> {
    return this.discardWhere(({ seenAt }, key) => seenAt < moment && !isConnected(key));
  }

  async discardWhere(matches: (record: SessionRecord, key: string) => boolean): Promise<number> {
    let discarded = 0;
    for (const [key, record] of this.#records.entries()) {
      if (!matches(record, key)) continue;
      await this.#lifetimes.run(key, async () => {
        // The owner may have reconnected meanwhile.
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
    const onError = (err: unknown) => this.#options.logger.error({ err }, "retained messages unreadable");
    return Readable.from(safely(this.retained.read(filters), onError), { highWaterMark: 1 });
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
   * Aedes calls this method for each granted filter, and each time passes all filters of the SUBSCRIBE, even refused
   * ones. The base class stores them all and queues messages that the client may not read. Here each permitted filter
   * is stored once.
   *
   * Messages are queued from the moment this method resolves, when Aedes begins to deliver them. A message queued
   * before that moment would wait for the next connection, and arrive after newer messages.
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

  /** The sessions whose owner may read the message now, not only at the time of subscribing. */
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

  override outgoingUpdate(client: Session, packet: OutgoingUpdate): Promise<void> {
    // After a PUBREC, Aedes passes only the message id.
    if (packet.brokerId !== undefined) this.#replays.sent(client);
    // The session has been discarded.
    if (this.#records.get(client.id) === undefined) return Promise.resolve();
    if (packet.cmd === "publish") {
      // If a QoS 0 filter equals the topic, Aedes lowers the message to QoS 0, even if another filter grants more. A
      // queued message of QoS 0 is never acknowledged, and so would be sent again at every connection.
      if (packet.qos === 0) packet.qos = 1;
      return this.queues.send(client.id, kept(packet), packet.messageId);
    }
    const { messageId, brokerId, brokerCounter } = packet;
    const stored = brokerId === undefined || brokerCounter === undefined ? undefined : { brokerId, brokerCounter };
    return this.queues.release(client.id, messageId, stored);
  }

  override async outgoingClearMessageId(client: Session, packet: Cleared): Promise<unknown> {
    const { messageId, brokerId, brokerCounter } = packet;
    if (messageId !== undefined) {
      if (client.clean !== true) return this.queues.acknowledge(client.id, messageId);
      return this.#options.takeReceipt(client, messageId);
    }
    // Aedes has suppressed a delivery. The message stays in the queue if its delivery was refused, or comes from the
    // queue.
    if (client.clean === true || brokerId === undefined || brokerCounter === undefined) return undefined;
    if (!this.#options.wasForwarded(client, brokerCounter)) return undefined;
    // If the message is also being delivered at QoS 1 or 2, that delivery marks it as sent within this turn of the
    // event loop.
    await new Promise((resolve) => setImmediate(resolve));
    if (client.closed !== true) await this.queues.dismiss(client.id, { brokerId, brokerCounter });
    return undefined;
  }

  override outgoingStream(client: Session): Readable {
    return Readable.from(this.#replays.read(client), { highWaterMark: 1 });
  }

  isDeliveredFromQueue(client: Session, brokerCounter: number): boolean {
    return this.#replays.holds(client, brokerCounter);
  }

  // Messages from clients, QoS 2

  isIncoming(clientId: string, messageId: number): boolean {
    return this.#incoming.has(clientId, messageId);
  }

  /** Stores no payload: the message has been forwarded, and the id is enough to recognize a duplicate. */
  override incomingStorePacket(client: Session, packet: StoredPacket): Promise<void> {
    if (packet.messageId !== undefined) this.#incoming.add(client.id, packet.messageId);
    const stored = kept(packet);
    stored.payload = NO_PAYLOAD;
    return super.incomingStorePacket(client, stored);
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

  /** Stores the will with its owner, because the next run of the broker may publish the will. */
  override putWill(client: Session, will: object): Promise<void> {
    this.#options.wills.stored(client.id);
    return super.putWill(client, { ...will, ...this.#options.wills.bearerOf(will) });
  }

  /** When a replaced connection closes, the base class would delete the will of the newer connection. */
  override async delWill(client: Session & { brokerId?: string }): Promise<unknown> {
    const { wills } = this.#options;
    // Aedes passes the broker id when a connection has closed, and none when a client connects.
    if (client.brokerId === this.brokerId && wills.released(client.id)) return undefined;
    return wills.consumeKept(client.id) ? undefined : super.delWill(client);
  }

  /** The wills that an earlier run has not published. */
  override streamWill(brokers: Brokers = {}): Readable {
    return Readable.from(this.#orphanedWills(brokers));
  }

  async *#orphanedWills(brokers: Brokers): AsyncGenerator<object> {
    const { wills } = this.#options;
    wills.expirePublishing();
    try {
      for await (const stored of super.streamWill()) {
        const read = willSchema.safeParse(stored);
        if (!read.success || read.data.brokerId === this.brokerId || brokers[read.data.brokerId] !== undefined)
          continue;
        // The id of the earlier run is left out: combined with a counter of this run, it could overwrite a queued
        // message.
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
      this.#options.logger.error({ err: error }, "stored wills unreadable");
    }
  }
}

const willSchema = storedWillSchema.extend({ payload: z.instanceof(Buffer) });
const NO_PAYLOAD = Buffer.alloc(0);

const LEVEL = { keyEncoding: "utf8", valueEncoding: "buffer" } as const;
const SESSION_KEY_START = /(?:session|subscriptions|outgoing|incoming|will):/g;

/** The key of the session that a row belongs to. */
function sessionOf(key: string): string | undefined {
  const [kind, name = ""] = key.split(":");
  if (name === "") return undefined;
  // Only a record's row contains the session key unencoded.
  return kind === "session" ? key.slice("session:".length) : safelyDecoded(name);
}

/** Opens the database, repairs damage, and reports sessions that may have lost data. @throws {StoreUnusableError} */
export async function openLevelStorage(options: LevelStorageOptions): Promise<LevelStorage> {
  const { path: folder, logger } = options;
  const store = { folder, what: "the store of MQTT sessions", level: LEVEL };
  let { db, loss } = await openStore<Buffer>(store);
  let storage = new LevelStorage(db, options);
  try {
    await storage.load();
  } catch (error) {
    await db.close();
    logger.error({ err: error }, "MQTT session store unreadable: repairing it");
    ({ db, loss } = await repairStore<Buffer>(store, error));
    storage = new LevelStorage(db, options);
    await storage.load();
  }
  if (loss !== undefined) reportLoss(loss, options);
  return storage;
}

function reportLoss({ reason, ranges, logParts, isBounded }: Loss, { onDamage, logger }: LevelStorageOptions): void {
  const sessions = namesIn(logParts, SESSION_KEY_START, sessionOf);
  const rows = ranges.map(({ from, to }) => `rows from ${from || "the first"} to ${to}`);
  const which = [...sessions, ...rows];
  const whose =
    which.length === 0 || !isBounded ? `any session, certainly ${which.join(", ") || "none"}` : which.join(", ");
  logger.error({ loss: reason, sessions, rows }, "MQTT session store damaged: sessions or messages may be lost");
  onDamage?.({
    ...{ store: "mqtt", found: reason },
    missing: `sessions, queued or retained messages may be missing (${whose}): their clients must subscribe again`,
  });
}

function safelyDecoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import type { Brokers, Subscription } from "aedes";
import { isShared, sharedFilterText } from "../../contract/shares.ts";
import type { Kept } from "../access/authenticate.ts";
import type { FilterOptions } from "../access/filter-options.ts";
import type { SessionOwner } from "../access/session-owner.ts";
import { FilterChanges } from "./filter-changes.ts";
import type { IncomingIds } from "./incoming-ids.ts";
import { deliveriesOf } from "./log-connection.ts";
import { LogOutgoing, type LogOutgoingOptions } from "./log-outgoing.ts";
import type { LogRetained } from "./log-retained.ts";
import type { LogSessions } from "./log-sessions.ts";
import type { LogWills } from "./log-wills.ts";
import type { SessionConnection } from "./session-delivery.ts";
import { SessionLifetimes, type SessionLifetimesOptions } from "./session-lifetimes.ts";
import { ClientShares } from "./shares/client-shares.ts";
import type { ShareGroups } from "./shares/share-groups.ts";
import {
  type BrokerStorage,
  type Callback,
  type Cleared,
  type LogDeliveries,
  type OutgoingUpdate,
  type PublishWill,
  type Session,
  type StoredPacket,
  type StoredSubscription,
  safely,
} from "./storage.ts";

interface LogStorageOptions extends SessionLifetimesOptions, LogOutgoingOptions {
  /** Called for each delivery of a shared subscription. */
  onSharedSent(client: object, qos: 0 | 1 | 2): void;
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
  readonly #filters: FilterChanges;
  readonly #outgoing: LogOutgoing;
  readonly #clientShares: ClientShares;
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
    this.#clientShares = new ClientShares({
      ...{ groups: this.shares, mayReceive: options.mayReceive, onSent: options.onSharedSent },
      isFree: ({ id }, messageId) => sessions.get(id)?.cursor.flights.withId(messageId) === undefined,
    });
    this.#filters = new FilterChanges(sessions, (key) => this.#lifetimes.assertWriter(key));
    this.#outgoing = new LogOutgoing(sessions, this.#clientShares, options);
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

  connect(key: string, connection: SessionConnection): ReturnType<BrokerStorage["connect"]> {
    return this.#outgoing.connect(key, connection);
  }

  store(key: string): Promise<void> {
    return this.#sessions.store(key);
  }

  get shares(): ShareGroups {
    return this.#sessions.shares.groups;
  }

  get shareBacklog(): number {
    return this.#sessions.shares.backlog;
  }

  ownerOf(key: string): SessionOwner | undefined {
    return this.#sessions.get(key)?.owner;
  }

  left(key: string): Promise<void> {
    return this.#lifetimes.left(key);
  }

  keep(key: string, owner: SessionOwner, expiry?: number): Promise<Kept> {
    return this.#lifetimes.keep(key, owner, expiry);
  }

  setExpiry(key: string, expiry: number | undefined): void {
    const session = this.#sessions.get(key);
    if (session !== undefined) this.#sessions.setExpiry(session, expiry);
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

  /** A shared subscription gets no retained messages [MQTT-3.8.4-4]. */
  createRetainedStreamCombi(all: string[]): Readable {
    const filters = all.filter((filter) => !isShared(filter));
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

  subscribe(key: string, filter: string, options: FilterOptions): Promise<void> {
    return this.#filters.add(key, filter, options);
  }

  async subscribeShared(...[client, identity, shared, options]: Parameters<BrokerStorage["subscribeShared"]>) {
    const isStored = client.clean !== true && this.subscribe(client.id, sharedFilterText(shared), options);
    await Promise.all([isStored, this.#clientShares.subscribe(client, identity, shared, options)]);
  }

  /** {@link subscribe} has added the filters. */
  addSubscriptions(): Callback {
    return AT_ONCE;
  }

  removeSubscriptions({ id }: Session, filters: string[]): Callback {
    return this.#filters.remove(id, filters) ?? AT_ONCE;
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

  outgoingUpdate(client: Session, packet: OutgoingUpdate): Promise<void> {
    return this.#outgoing.update(client, packet);
  }

  outgoingClearMessageId(client: Session, packet: Cleared): Promise<unknown> {
    return this.#outgoing.clear(client, packet);
  }

  outgoingStream(client: Session): Readable {
    return this.#outgoing.stream(client);
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

  postponeWill(client: Session, will: object): boolean {
    return this.#wills.postpone(client, will);
  }

  startWills(publish: PublishWill): void {
    this.#wills.start(publish);
  }

  stopWills(): void {
    this.#wills.stop();
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
/** @throws {StoreUnavailableError} the store cannot be read */
export async function openLogStorage(options: LogStorageOptions): Promise<LogStorage> {
  const storage = new LogStorage(options);
  await storage.load();
  return storage;
}

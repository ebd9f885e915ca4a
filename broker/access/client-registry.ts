import type { Logger } from "pino";
import { filterMatches } from "../../contract/topics.ts";
import { Counts } from "../../platform/counts.ts";
import type { Bearer } from "../../platform/identity.ts";
import { Listeners } from "../../platform/listeners.ts";
import type { TakeOver } from "../../platform/publications.ts";
import type { RateLimiter } from "../../platform/rate-limiter.ts";
import type { TopicCache } from "../../platform/topic-cache.ts";
import type { DeliveryReceipts } from "../aedes/delivery-receipts.ts";
import type { Transport } from "./admission.ts";
import { type BrokerClient, endClient } from "./broker-client.ts";
import { ClientFilters, type Grant } from "./client-filters.ts";
import type { PermissionSet, PublishDecision } from "./permission-sets.ts";

/** The identity and permissions of a connected MQTT client, and the state of its connection. */
export interface ClientAccess extends Bearer {
  /** The client id as the client sent it. */
  readonly clientId: string;
  /** The key of the client's session, which Aedes and the store use as the client's id. See `session-names.ts`. */
  readonly sessionKey: string;
  readonly permissions: readonly string[];
  readonly set: PermissionSet;
  /** Publish decisions by topic. Not shared between clients, which rarely publish to the same topics. */
  readonly writes: TopicCache<PublishDecision>;
  readonly filters: ClientFilters;
  /** Publications up to this position are older than the client's filters, or one of them was dropped. */
  liveAbove: number;
  /** The messages that the client has not acknowledged yet; only for a device with a clean session. */
  readonly receipts: DeliveryReceipts | undefined;
  /** Shared by all connections of the identity to this node. */
  readonly rateLimiter: RateLimiter;
  /** The id of the last message of QoS 1 or 2, if the client has a clean session. */
  lastMessageId: number;
  /** PUBACKs, PUBRECs and PUBCOMPs that the client has yet to send for delivered messages. */
  expectedAcks: number;
  /** The client is connecting, and the store has not decided yet whether its session is at this node. */
  awaitsSession: boolean;
  /** CONNACK has been sent: the client's own SUBSCRIBEs follow. */
  isAccepted: boolean;
  /** The client continues a stored session. */
  isResumed: boolean;
  /** Why the connection ends, for the log; undefined until a reason is known. */
  disconnectReason: string | undefined;
  readonly address: string;
  readonly transport: Transport;
  /** Milliseconds since 1970. */
  readonly connectedAt: number;
  /** Seconds; 0 means no keep-alive. */
  readonly keepaliveS: number;
}

/** Rate limiters kept for identities without a connection. */
const MAX_DISCONNECTED = 10_000;

/** The highest QoS that the client's filters grant for the topic; 0 when none matches. */
export function grantedQos(access: ClientAccess, topic: string): 0 | 1 | 2 {
  let granted: 0 | 1 | 2 = 0;
  for (const [filter, { qos }] of access.filters) {
    if (qos > granted && filterMatches(filter, topic)) granted = qos;
  }
  return granted;
}

/**
 * Whether the client gets the publication live, and no SUBSCRIBE after the publication asks for it as a retained
 * message.
 */
export function comesLive(
  { filters, liveAbove }: Pick<ClientAccess, "liveAbove"> & { filters: ReadonlyMap<string, Grant> },
  topic: string,
  position: number,
): boolean {
  if (position <= liveAbove) return false;
  let isMatched = false;
  for (const [filter, { since }] of filters) {
    if (!filterMatches(filter, topic)) continue;
    if (position <= since) return false;
    isMatched = true;
  }
  return isMatched;
}

/** The authenticated clients by connection, by session (a session has one connection at a time) and by identity. */
export class ClientRegistry {
  readonly #accesses = new Map<BrokerClient, ClientAccess>();
  readonly #byObject = new WeakMap<object, ClientAccess>();
  readonly #bySession = new Map<string, Set<BrokerClient>>();
  readonly #registered = new Set<BrokerClient>();
  readonly #connections = new Counts();
  readonly #authenticated = new Counts();
  readonly #filters = new Counts();
  readonly #rateLimiters = new Map<string, RateLimiter>();
  /** Limiters of disconnected identities, oldest first. Reconnecting must not reset a limit that is partly used up. */
  readonly #disconnected = new Map<string, RateLimiter>();
  readonly takeOvers: Listeners<[TakeOver]>;
  /** Calls back when the last connection with a session key has closed. */
  readonly unused: Listeners<[key: string]>;

  constructor(logger: Logger) {
    this.takeOvers = new Listeners(logger);
    this.unused = new Listeners(logger);
  }

  get size(): number {
    return this.#registered.size;
  }

  entries(): IterableIterator<[BrokerClient, ClientAccess]> {
    return this.#accesses.entries();
  }

  get(client: BrokerClient): ClientAccess | undefined {
    return this.#accesses.get(client);
  }

  /** Like {@link get}, for the store, which has no type for a client. */
  find(client: object): ClientAccess | undefined {
    return this.#byObject.get(client);
  }

  /** The identity of the client that is connected with this session key. */
  identityAt(key: string): string | undefined {
    const [client] = this.#bySession.get(key) ?? [];
    return client === undefined ? undefined : this.#accesses.get(client)?.identity;
  }

  connections(identity: string): number {
    return this.#connections.of(identity);
  }

  /** Includes clients that are still connecting. */
  authenticatedConnections(identity: string): number {
    return this.#authenticated.of(identity);
  }

  /** The limiter of the identity's present or recent connections. */
  rateLimiterOf(identity: string): RateLimiter | undefined {
    return this.#rateLimiters.get(identity) ?? this.#disconnected.get(identity);
  }

  /** The filters of a new client. Its user's share is given back when the client's connection closes. */
  filtersOf(identity: string): ClientFilters {
    return new ClientFilters(identity, this.#filters);
  }

  /** Adds an authenticated client until its connection closes. */
  add(client: BrokerClient, access: ClientAccess): void {
    this.#accesses.set(client, access);
    this.#byObject.set(client, access);
    const sameSession = this.#bySession.get(access.sessionKey);
    if (sameSession === undefined) this.#bySession.set(access.sessionKey, new Set([client]));
    else sameSession.add(client);
    this.#authenticated.add(access.identity);
    this.#rateLimiters.set(access.identity, access.rateLimiter);
    this.#disconnected.delete(access.identity);
    client.conn.once("close", () => this.#remove(client, access));
  }

  /** Whether this node has another connection of the client's session. */
  isReplaced(client: BrokerClient, { sessionKey: key }: ClientAccess): boolean {
    return [...(this.#bySession.get(key) ?? [])].some((other) => other !== client);
  }

  /** Aedes has accepted the client, which is connected from now on. */
  register(client: BrokerClient): void {
    const access = this.#accesses.get(client);
    if (access === undefined || this.#registered.has(client)) return;
    this.#registered.add(client);
    this.#connections.add(access.identity);
    let tookOver = false;
    for (const other of this.#bySession.get(access.sessionKey) ?? []) {
      if (other === client || !this.#registered.has(other)) continue;
      tookOver = true;
      // Usually Aedes has closed the older connection already. But if a third connection of this session closed while
      // it was connecting, Aedes no longer knows the older connection. Aedes never knows clients of MQTT 5.
      endClient(other, "taken-over");
    }
    if (tookOver) this.takeOvers.call({ clientId: access.clientId, identity: access.identity });
  }

  /**
   * Closes the connections with this session key, except those whose session the store has not found yet: they are newer.
   * @param key undefined: the connections of all clients @param why for the log @param isReplaced see {@link takeOvers}
   */
  closeOlder(key: string | undefined, why: string, isReplaced: boolean): void {
    let takenOver: TakeOver | undefined;
    const clients = key === undefined ? this.#accesses.keys() : (this.#bySession.get(key) ?? []);
    for (const client of [...clients]) {
      const access = this.#accesses.get(client);
      if (access === undefined || (access.awaitsSession && key !== undefined)) continue;
      if (this.#registered.has(client)) takenOver = access;
      access.disconnectReason ??= why;
      endClient(client, isReplaced ? "taken-over" : key === undefined ? "reconnect" : "session-ended");
    }
    if (isReplaced && takenOver !== undefined)
      this.takeOvers.call({ clientId: takenOver.clientId, identity: takenOver.identity });
  }

  /** Keeps the limiter of an identity without connections until the limiter is rested. */
  #setAside({ identity, rateLimiter }: ClientAccess): void {
    this.#rateLimiters.delete(identity);
    for (const [oldest, limiter] of this.#disconnected) {
      if (this.#disconnected.size < MAX_DISCONNECTED && !limiter.isRested) break;
      this.#disconnected.delete(oldest);
    }
    if (!rateLimiter.isRested) this.#disconnected.set(identity, rateLimiter);
  }

  #remove(client: BrokerClient, access: ClientAccess): void {
    access.filters.close();
    this.#accesses.delete(client);
    this.#byObject.delete(client);
    const sameSession = this.#bySession.get(access.sessionKey);
    sameSession?.delete(client);
    if (sameSession?.size === 0) {
      this.#bySession.delete(access.sessionKey);
      this.unused.call(access.sessionKey);
    }
    if (this.#authenticated.subtract(access.identity) === 0) this.#setAside(access);
    if (this.#registered.delete(client)) this.#connections.subtract(access.identity);
  }
}

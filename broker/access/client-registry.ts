import type { Client } from "aedes";
import { filterMatches } from "../../contract/topics.ts";
import type { TakeOver } from "../../platform/publications.ts";
import type { RateLimiter } from "../../platform/rate-limiter.ts";
import type { TopicCache } from "../../platform/topic-cache.ts";
import type { DeliveryReceipts } from "../aedes/delivery-receipts.ts";
import type { Transport } from "./admission.ts";
import type { PermissionSet, PublishDecision } from "./permission-sets.ts";
import { sessionKey } from "./session-names.ts";

/** Who an MQTT client is and what it may do, from its CONNECT to the end of its connection. */
export interface ClientAccess {
  /** As the client sent it. */
  readonly clientId: string;
  /** The name of its session: Aedes' and the store's id of the client. See `session-names.ts`. */
  readonly sessionKey: string;
  /** `device:north`, `service:stacker`, `user:alice`. */
  readonly identity: string;
  readonly permissions: readonly string[];
  readonly set: PermissionSet;
  /** This client's own memory: the topics it writes are few, and nobody else's. */
  readonly writes: TopicCache<PublishDecision>;
  /** The filters it is subscribed to, with the QoS granted. */
  readonly filters: Map<string, 0 | 1 | 2>;
  /** Of a device with a clean session: what it was sent and has not acknowledged. */
  readonly receipts: DeliveryReceipts | undefined;
  /** How much its identity may ask for, over all connections of it here. */
  readonly pace: RateLimiter;
  /** PUBACKs, PUBRECs and PUBCOMPs that it owes for what it was sent. */
  owedAnswers: number;
  /** The number of the publication that was last given to it. */
  lastForwarded: number;
  /** Why its connection ends, as far as it is known: for the log. */
  leavesBecause: string | undefined;
  /** The claim `jti` of its token. */
  readonly tokenId: string | undefined;
  /** The login its token comes from. */
  readonly sessionId: string | undefined;
  /** When its token was issued, or since when its device has this secret, milliseconds since 1970. */
  readonly issuedAt: number | undefined;
  /** When its token expires, milliseconds since 1970; undefined for a client with a secret of its own. */
  readonly expiresAt: number | undefined;
  readonly address: string;
  readonly transport: Transport;
  /** Milliseconds since 1970. */
  readonly connectedAt: number;
  /** Seconds; 0 for a client that need not send anything. */
  readonly keepaliveS: number;
}

/** Identities without a connection whose pace is remembered. */
const MAX_LEFT = 10_000;

/** The QoS at which the client is to get a message on the topic; 0 when no filter of its matches. */
export function grantedQos(access: ClientAccess, topic: string): 0 | 1 | 2 {
  let granted: 0 | 1 | 2 = 0;
  for (const [filter, qos] of access.filters) {
    if (qos > granted && filterMatches(filter, topic)) granted = qos;
  }
  return granted;
}

/**
 * The authenticated clients: by connection for the access rules, by session because a client has one connection at a
 * time, by identity so that others can ask whether a device is connected.
 */
export class ClientRegistry {
  readonly #accesses = new Map<Client, ClientAccess>();
  readonly #byObject = new WeakMap<object, ClientAccess>();
  readonly #bySession = new Map<string, Set<Client>>();
  readonly #registered = new Set<Client>();
  readonly #connections = new Map<string, number>();
  /** Of each identity, how many clients have proved to be it, past their CONNECT or not. */
  readonly #proved = new Map<string, number>();
  readonly #paces = new Map<string, RateLimiter>();
  /** Those of identities without a connection that still owe something, the longest gone first: to connect again is no way to be given more. */
  readonly #left = new Map<string, RateLimiter>();
  readonly #takeOverListeners = new Set<(takeOver: TakeOver) => void>();

  /** Clients that are past their CONNECT. */
  get size(): number {
    return this.#registered.size;
  }

  /** Every client that has proved who it is. */
  entries(): IterableIterator<[Client, ClientAccess]> {
    return this.#accesses.entries();
  }

  of(client: Client): ClientAccess | undefined {
    return this.#accesses.get(client);
  }

  /** The same for the store, which knows a client as something with an id. */
  find(client: object): ClientAccess | undefined {
    return this.#byObject.get(client);
  }

  /** The identity that is connected under the session's name at this moment. */
  holderOf(key: string): string | undefined {
    const [holder] = this.#bySession.get(key) ?? [];
    return holder === undefined ? undefined : this.#accesses.get(holder)?.identity;
  }

  /** Connections of the identity. */
  connections(identity: string): number {
    return this.#connections.get(identity) ?? 0;
  }

  /** The same, with those that are being let in. */
  proved(identity: string): number {
    return this.#proved.get(identity) ?? 0;
  }

  /** That of the clients which have proved to be the identity, or did a moment ago; undefined when there is none. */
  paceOf(identity: string): RateLimiter | undefined {
    return this.#paces.get(identity) ?? this.#left.get(identity);
  }

  onTakeOver(listener: (takeOver: TakeOver) => void): () => void {
    this.#takeOverListeners.add(listener);
    return () => this.#takeOverListeners.delete(listener);
  }

  /** The client has proved who it is. Ends by itself with the connection. */
  add(client: Client, access: ClientAccess): void {
    this.#accesses.set(client, access);
    this.#byObject.set(client, access);
    const sameSession = this.#bySession.get(access.sessionKey);
    if (sameSession === undefined) this.#bySession.set(access.sessionKey, new Set([client]));
    else sameSession.add(client);
    this.#proved.set(access.identity, this.proved(access.identity) + 1);
    this.#paces.set(access.identity, access.pace);
    this.#left.delete(access.identity);
    client.conn.once("close", () => this.#remove(client, access));
  }

  /** Whether the client has a newer connection here, for which this one was ended. */
  isReplaced(client: Client, { sessionKey: key }: ClientAccess): boolean {
    return [...(this.#bySession.get(key) ?? [])].some((other) => other !== client);
  }

  /** Aedes has entered the client: it takes part from now on. */
  register(client: Client): void {
    const access = this.#accesses.get(client);
    if (access === undefined || this.#registered.has(client)) return;
    this.#registered.add(client);
    this.#connections.set(access.identity, this.connections(access.identity) + 1);
    let tookOver = false;
    for (const other of this.#bySession.get(access.sessionKey) ?? []) {
      if (other === client || !this.#registered.has(other)) continue;
      tookOver = true;
      // Aedes has closed it already, but for one case: a third connection with this id that died while it connected has
      // struck the older one off Aedes' list.
      other.close();
    }
    if (!tookOver) return;
    for (const listener of this.#takeOverListeners) listener({ clientId: access.clientId, identity: access.identity });
  }

  /** Another node has a newer connection of the client: ends those here that are older. */
  yieldTo({ clientId, identity }: { clientId: string; identity: string }, isOlder: (client: Client) => boolean): void {
    let tookOver = false;
    // By its client id alone when its session is of an earlier version.
    const keys = new Set([sessionKey(identity, clientId), clientId]);
    for (const client of [...keys].flatMap((key) => [...(this.#bySession.get(key) ?? [])])) {
      if (!this.#registered.has(client) || this.of(client)?.identity !== identity || !isOlder(client)) continue;
      tookOver = true;
      const access = this.of(client);
      if (access !== undefined) access.leavesBecause ??= "it has connected to another node";
      client.close();
    }
    if (!tookOver) return;
    for (const listener of this.#takeOverListeners) listener({ clientId, identity });
  }

  #rest({ identity, pace }: ClientAccess): void {
    this.#paces.delete(identity);
    for (const [known, left] of this.#left) {
      if (this.#left.size < MAX_LEFT && !left.isRested) break;
      this.#left.delete(known);
    }
    if (!pace.isRested) this.#left.set(identity, pace);
  }

  #remove(client: Client, access: ClientAccess): void {
    this.#accesses.delete(client);
    this.#byObject.delete(client);
    const sameSession = this.#bySession.get(access.sessionKey);
    sameSession?.delete(client);
    if (sameSession?.size === 0) this.#bySession.delete(access.sessionKey);
    countDown(this.#proved, access.identity);
    if (this.proved(access.identity) === 0) this.#rest(access);
    if (this.#registered.delete(client)) countDown(this.#connections, access.identity);
  }
}

/** One less; a map forgets what it counts down to nothing. */
function countDown(counts: Map<string, number>, key: string): void {
  const left = (counts.get(key) ?? 1) - 1;
  if (left > 0) counts.set(key, left);
  else counts.delete(key);
}

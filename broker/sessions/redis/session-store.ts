import type { Subscription } from "aedes";
import { Counts } from "../../../platform/counts.ts";
import { inTime } from "../../../platform/in-time.ts";
import { KeyedQueue } from "../../../platform/keyed-queue.ts";
import type { NotKept } from "../../access/authenticate.ts";
import { ConnackCode, RefusedConnectionError } from "../../access/errors.ts";
import { ownerOf, type SessionOwner } from "../../access/session-owner.ts";
import type { RetryingConnection } from "../../cluster/redis-connection.ts";
import { IncomingIds } from "../incoming-ids.ts";
import type { Session, StorageOptions } from "../storage.ts";
import { incomingKey, KEY, limit, packetsKey, queueKey } from "./keys.ts";
import { filtersText, type KnownSessions } from "./sessions.ts";
import type { RedisWriter } from "./writer.ts";

/** Sessions in one update of the last use. */
const TOUCHED_AT_ONCE = 500;
/** A CONNECT waits this long for its session. After that, the client is refused and should try another node. */
const KEEP_TIMEOUT_MS = 5_000;

interface SessionStoreOptions
  extends Pick<StorageOptions, "maxSessions" | "maxSessionsPerUser" | "maxSubscriptions" | "now"> {
  writer: RedisWriter;
  reader: RetryingConnection;
  known: KnownSessions;
  /** Resolves when this node has applied the change. */
  caughtUp(change: string): Promise<void>;
  /** Why Redis is unavailable; undefined when it is available. */
  unavailableReason: () => string | undefined;
  /** The message ids of a session's unfinished QoS 2 publications expire after this time. */
  sessionHours: number;
}

/**
 * Creates, changes and discards persistent sessions. A change applies to all publications after its method has
 * resolved.
 */
export class SessionStore {
  readonly #options: SessionStoreOptions;
  readonly #incoming = new IncomingIds();
  readonly #tasks = new KeyedQueue();
  /** New sessions being created, per identity. */
  readonly #creating = new Counts();

  constructor(options: SessionStoreOptions) {
    this.#options = options;
  }

  /** @throws {RefusedConnectionError} Redis is unavailable */
  async keep(key: string, owner: SessionOwner): Promise<NotKept | undefined> {
    this.#checkAvailable();
    const { known, maxSessionsPerUser } = this.#options;
    const { identity } = owner;
    if (known.ownerOf(key)?.identity === identity) return await this.#keepInTime(key, owner);
    // Sessions that other nodes create at the same moment are not counted: this node's copy may lack them.
    const sessions = known.countOf(identity) + this.#creating.of(identity);
    if (sessions >= maxSessionsPerUser) return "MAX_MQTT_SESSIONS_PER_USER";
    this.#creating.add(identity);
    try {
      return await this.#keepInTime(key, owner);
    } finally {
      this.#creating.subtract(identity);
    }
  }

  #keepInTime(key: string, owner: SessionOwner): Promise<NotKept | undefined> {
    const why = "Redis did not answer in time";
    const lateError = () => new RefusedConnectionError(ConnackCode.serverUnavailable, why);
    return inTime(this.#keep(key, owner), KEEP_TIMEOUT_MS, lateError);
  }

  async #keep(key: string, owner: SessionOwner): Promise<NotKept | undefined> {
    const { writer, maxSessions, caughtUp } = this.#options;
    const text = JSON.stringify(ownerOf(owner));
    const args = ["K", key, text, owner.identity, String(this.#options.now()), limit(maxSessions)];
    const [answer, change = "", ...ids] = await writer.run(() => ({ keys: keysOf(key), args }));
    if (answer === "full") return "MAX_MQTT_SESSIONS";
    this.#incoming.clear(key);
    for (const id of ids) this.#incoming.add(key, Number(id));
    await caughtUp(change);
    return undefined;
  }

  async discard(clientId: string): Promise<void> {
    this.#checkAvailable();
    this.#incoming.clear(clientId);
    if (this.#options.known.ownerOf(clientId) !== undefined) await this.#discard(clientId, {});
  }

  /** Keeps a session whose owner has meanwhile reconnected to any node: a reconnect changes the session's record. */
  async discardWhere(matches: (owner: SessionOwner) => boolean): Promise<number> {
    let discarded = 0;
    for (const [key, { owner, text }] of this.#options.known.entries()) {
      if (matches(owner) && (await this.#discard(key, { owner: text }))) discarded++;
    }
    return discarded;
  }

  /** First updates the last use of the sessions connected to this node. */
  async expire(moment: number, isConnected: (clientId: string) => boolean): Promise<number> {
    const { known, reader } = this.#options;
    const used = [...known.clientIds()].filter(isConnected);
    for (let at = 0; at < used.length; at += TOUCHED_AT_ONCE) await this.touch(used.slice(at, at + TOUCHED_AT_ONCE));
    if (!Number.isFinite(moment)) return 0;
    const before = String(Math.floor(moment));
    const unseen = await reader.retry((connection) => connection.zrangebyscore(KEY.seen, "-inf", `(${before}`));
    let expired = 0;
    for (const key of unseen) if (!isConnected(key) && (await this.#discard(key, { unseenSince: before }))) expired++;
    return expired;
  }

  /** Stores the current time as the last use of the sessions. */
  async touch(clientIds: readonly string[]): Promise<void> {
    const args = ["T", String(this.#options.now()), String(clientIds.length), ...clientIds];
    await this.#options.writer.run(() => ({ keys: [KEY.seen], args }));
  }

  /** Adds the permitted filters, up to the limit. */
  addFilters(clientId: string, subscriptions: readonly Subscription[]): Promise<void> {
    const { known, maxSubscriptions } = this.#options;
    return this.#changeFilters(clientId, (filters) => {
      const set = known.setOf(clientId);
      for (const { topic, qos } of subscriptions) {
        if (set === undefined || set.subscribeProblem(topic) !== undefined) continue;
        if (filters.has(topic) || filters.size < maxSubscriptions) filters.set(topic, qos);
      }
    });
  }

  removeFilters(clientId: string, topics: readonly string[]): Promise<void> {
    return this.#changeFilters(clientId, (filters) => {
      for (const topic of topics) filters.delete(topic);
    });
  }

  // Messages from clients, QoS 2

  isIncoming(clientId: string, messageId: number): boolean {
    return this.#incoming.has(clientId, messageId);
  }

  /** Only persistent sessions, which may move to another node, need the id in Redis. */
  async addIncoming(client: Session, messageId: number): Promise<void> {
    this.#incoming.add(client.id, messageId);
    if (client.clean === true) return;
    const { writer, sessionHours } = this.#options;
    const seconds = Number.isFinite(sessionHours) ? String(sessionHours * 3600) : "0";
    const args = ["I", seconds, String(messageId)];
    await writer.run(() => ({ keys: [incomingKey(client.id)], args }));
  }

  async deleteIncoming(client: Session, messageId: number): Promise<void> {
    if (client.clean !== true) {
      const args = ["J", String(messageId)];
      await this.#options.writer.run(() => ({ keys: [incomingKey(client.id)], args }));
    }
    this.#incoming.delete(client.id, messageId);
  }

  clearIncoming(clientId: string): void {
    this.#incoming.clear(clientId);
  }

  #changeFilters(clientId: string, change: (filters: Map<string, 0 | 1 | 2>) => void): Promise<void> {
    const { known, writer, caughtUp } = this.#options;
    return this.#tasks.run(clientId, async () => {
      const before = new Map([...known.filtersOf(clientId)].map(([filter, { qos }]) => [filter, qos]));
      const filters = new Map(before);
      change(filters);
      const text = filtersText(filters);
      if (text === filtersText(before)) return;
      const args = ["F", clientId, text];
      const [changed = ""] = await writer.run(() => ({ keys: [KEY.owners, KEY.filters], args }));
      if (changed !== "") await caughtUp(changed);
    });
  }

  async #discard(key: string, { unseenSince = "", owner = "" }): Promise<boolean> {
    const { writer, caughtUp } = this.#options;
    const args = ["D", key, unseenSince, owner];
    const [change = ""] = await writer.run(() => ({ keys: keysOf(key), args }));
    if (change !== "") await caughtUp(change);
    return change !== "";
  }

  #checkAvailable(): void {
    const why = this.#options.unavailableReason();
    if (why !== undefined) throw new RefusedConnectionError(ConnackCode.serverUnavailable, why);
  }
}

/** All keys that contain data of a session. */
function keysOf(key: string): string[] {
  return [KEY.owners, KEY.filters, KEY.seen, incomingKey(key), queueKey(key), packetsKey(key)];
}

import type { Subscription } from "aedes";
import type { SessionOwner } from "../../authenticate.ts";
import { ConnackCode, RefusedConnectionError } from "../../errors.ts";
import { IncomingIds } from "../incoming-ids.ts";
import { KeyedTasks } from "../keyed-tasks.ts";
import type { Session } from "../storage.ts";
import type { SteadyConnection } from "./connection.ts";
import { incomingKey, KEY, limit, packetsKey, queueKey } from "./keys.ts";
import { filtersText, type KnownSessions, ownerText } from "./sessions.ts";
import type { RedisWriter } from "./writer.ts";

/** Sessions renewed with one operation. */
const TOUCHED_AT_ONCE = 500;
/** How long a CONNECT waits for its session; then its client had better try another node. */
const KEEP_TIMEOUT_MS = 5_000;

export interface SessionStoreOptions {
  writer: RedisWriter;
  reader: SteadyConnection;
  known: KnownSessions;
  /** Resolves when this node knows of the change. */
  caughtUp(change: string): Promise<void>;
  /** Why Redis takes nothing now. */
  trouble: () => string | undefined;
  maxSessions: number;
  maxSubscriptions: number;
  /** How long the ids of a session's unfinished QoS 2 publications are kept. */
  sessionHours: number;
}

/** Makes, changes and ends the persistent sessions. What resolves here, every publication from then on knows of. */
export class SessionStore {
  readonly #options: SessionStoreOptions;
  readonly #incoming = new IncomingIds();
  readonly #tasks = new KeyedTasks();

  constructor(options: SessionStoreOptions) {
    this.#options = options;
  }

  /** @throws {RefusedConnectionError} the session is another's, which this node did not know; or Redis is away */
  async keep(clientId: string, owner: SessionOwner): Promise<boolean> {
    this.#checkTrouble();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new RefusedConnectionError(ConnackCode.serverUnavailable, "Redis did not answer in time");
      timer = setTimeout(() => reject(error), KEEP_TIMEOUT_MS);
    });
    try {
      return await Promise.race([this.#keep(clientId, owner), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #keep(clientId: string, owner: SessionOwner): Promise<boolean> {
    const { writer, maxSessions, caughtUp } = this.#options;
    const keys = [KEY.owners, KEY.filters, KEY.seen, incomingKey(clientId)];
    const args = ["K", clientId, ownerText(owner), owner.identity, String(Date.now()), limit(maxSessions)];
    const [answer, change = "", ...ids] = await writer.run(() => ({ keys, args }));
    if (answer === "full") return false;
    if (answer !== "kept")
      throw new RefusedConnectionError(ConnackCode.identifierRejected, `the client id is ${change}'s`);
    this.#incoming.clear(clientId);
    for (const id of ids) this.#incoming.add(clientId, Number(id));
    await caughtUp(change);
    return true;
  }

  async discard(clientId: string): Promise<void> {
    this.#checkTrouble();
    this.#incoming.clear(clientId);
    if (this.#options.known.ownerOf(clientId) !== undefined) await this.#discard(clientId, "");
  }

  /** Discards the sessions that nobody has used since the moment, at any node. Those in use here are renewed first. */
  async expire(moment: number, isConnected: (clientId: string) => boolean): Promise<number> {
    const { known, reader } = this.#options;
    const used = [...known.clientIds()].filter(isConnected);
    for (let at = 0; at < used.length; at += TOUCHED_AT_ONCE) await this.touch(used.slice(at, at + TOUCHED_AT_ONCE));
    if (!Number.isFinite(moment)) return 0;
    const before = String(Math.floor(moment));
    const unseen = await reader.until((connection) => connection.zrangebyscore(KEY.seen, "-inf", `(${before}`));
    let expired = 0;
    for (const clientId of unseen) if (!isConnected(clientId) && (await this.#discard(clientId, before))) expired++;
    return expired;
  }

  /** The sessions are in use, or were until now: from now they age. */
  async touch(clientIds: readonly string[]): Promise<void> {
    const args = ["T", String(Date.now()), String(clientIds.length), ...clientIds];
    await this.#options.writer.run(() => ({ keys: [KEY.seen], args }));
  }

  /** Adds those of the filters that the session's owner may have, up to the limit. */
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

  /** In Redis for a session that may move; a clean one ends with its connection. */
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

  async #discard(clientId: string, unseenSince: string): Promise<boolean> {
    const { writer, caughtUp } = this.#options;
    const keys = [KEY.owners, KEY.filters, KEY.seen, incomingKey(clientId), queueKey(clientId), packetsKey(clientId)];
    const [change = ""] = await writer.run(() => ({ keys, args: ["D", clientId, unseenSince] }));
    if (change !== "") await caughtUp(change);
    return change !== "";
  }

  #checkTrouble(): void {
    const why = this.#options.trouble();
    if (why !== undefined) throw new RefusedConnectionError(ConnackCode.serverUnavailable, why);
  }
}

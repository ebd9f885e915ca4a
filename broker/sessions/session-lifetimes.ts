import { StoreUnavailableError } from "../../platform/errors.ts";
import { inTime } from "../../platform/in-time.ts";
import { KeyedQueue } from "../../platform/keyed-queue.ts";
import type { OnDamage } from "../../platform/level/damage.ts";
import type { LostPublications, MqttLog } from "../../platform/publication-log.ts";
import type { Kept } from "../access/authenticate.ts";
import { ConnackCode, RefusedConnectionError } from "../access/errors.ts";
import type { SessionOwner } from "../access/session-owner.ts";
import { IncomingIds } from "./incoming-ids.ts";
import { LogRetained } from "./log-retained.ts";
import { LogSessions } from "./log-sessions.ts";
import { LogWills } from "./log-wills.ts";
import { reportMissed, reportUnreadable } from "./session-losses.ts";
import { type LogSession, SESSION_ROW } from "./session-record.ts";
import { subscriptionsOf } from "./shares/share-subscriptions.ts";
import type { StorageOptions } from "./storage.ts";

/** A failed reload is repeated after this time. */
const RELOAD_PAUSE_MS = 1_000;
/** A CONNECT waits this long for its session. After that, the client is refused and should try another node. */
const CONNECT_TIMEOUT_MS = 5_000;
/** Stopping waits this long for the last rows. */
const STOP_TIMEOUT_MS = 1_000;
/** Aedes publishes wills of earlier runs at this interval, in heartbeats. */
const ORPHAN_HEARTBEATS = 4;
/** After this time, the row of a connected session is written, so that its age is right after a crash. */
const TOUCH_AFTER_MS = 3_600_000;

export interface SessionLifetimesOptions extends StorageOptions {
  log: MqttLog;
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

/**
 * Loads what the log has, creates and discards sessions, and passes them from node to node: with several nodes, one node
 * writes the rows of a client.
 */
export class SessionLifetimes {
  readonly #options: SessionLifetimesOptions;
  readonly sessions: LogSessions;
  readonly wills: LogWills;
  readonly retained: LogRetained;
  readonly incoming = new IncomingIds();
  /** Serializes the creation and discarding of each session. */
  readonly #queue = new KeyedQueue();
  /** Resolves when what the log has is loaded. */
  #loading: Promise<void> = Promise.resolve();
  #isClosed = false;
  #stopFollowing = () => {};

  constructor(options: SessionLifetimesOptions, brokerId: string) {
    const { log, wills, heartbeatMs, now, logger } = options;
    this.#options = options;
    this.sessions = new LogSessions(options);
    this.retained = new LogRetained({ log: log.publications, now, logger });
    this.wills = new LogWills({
      ...{ rows: log.rows, wills, brokerId, now, logger, orphanWaitMs: ORPHAN_HEARTBEATS * heartbeatMs },
      onGone: (client) => this.release(client),
      sessionExpiry: (client) => {
        const session = this.sessions.get(client);
        return session === undefined ? 0 : (session.expiry ?? Infinity);
      },
    });
  }

  async load(): Promise<void> {
    const { log } = this.#options;
    log.onReset((lost) => {
      this.#loading = this.#loading.then(() => this.#reload(lost));
    });
    const loaded = await this.#loadSessions();
    await Promise.all([this.retained.load(), this.wills.load(), this.#loadIncomingIds()]);
    this.#reportLosses(loaded);
  }

  async #loadSessions(known?: Parameters<LogSessions["load"]>[0]): ReturnType<LogSessions["load"]> {
    this.#stopFollowing();
    const loaded = await this.sessions.load(known);
    this.#stopFollowing = this.#options.log.rows.follow({
      onTaken: (client, row) => this.#onTaken(client, row),
      onLeft: (client, row) => this.#onLeft(client, row),
      onRemoved: (client) => this.#onRemoved(client),
      onWill: (client, row) => this.wills.adopt(client, row),
    });
    return loaded;
  }

  /** This node has missed publications. Its clients reconnect immediately, and their sessions continue. */
  async #reload(lost: LostPublications | undefined): Promise<void> {
    const known = lost === undefined ? undefined : this.sessions.lose(lost);
    const incoming = new Map([...(known?.keys() ?? [])].map((key) => [key, this.incoming.of(key)]));
    this.#options.closeClients(undefined);
    for (let isLoaded = false; !isLoaded && !this.#isClosed; ) {
      try {
        this.#reportLosses(await this.#loadSessions(known));
        // Before their clients connect to other nodes.
        if (known !== undefined) await Promise.all([this.sessions.flush(), this.#restoreIncoming(incoming)]);
        this.#options.log.rows.settle();
        this.incoming.clearAll();
        await Promise.all([this.retained.load(), this.#loadIncomingIds()]);
        isLoaded = true;
      } catch (err) {
        this.#options.logger.error({ err }, "MQTT sessions cannot be loaded again, retrying");
        await new Promise((resolve) => setTimeout(resolve, RELOAD_PAUSE_MS));
      }
    }
  }

  async #restoreIncoming(incoming: ReadonlyMap<string, readonly number[]>): Promise<void> {
    const { log } = this.#options;
    const own = [...incoming].filter(([key]) => log.rows.isUnchanged(key));
    await Promise.all(own.map(([key, ids]) => log.replaceIncomingIds?.(key, ids)));
  }

  async #loadIncomingIds(): Promise<void> {
    for await (const { session, messageId } of this.#options.log.incomingIds()) this.incoming.add(session, messageId);
  }

  #reportLosses({ unreadable, missed }: { unreadable: readonly string[]; missed: readonly string[] }): void {
    if (missed.length > 0) reportMissed(missed, this.#options);
    if (unreadable.length === 0) return;
    for (const key of unreadable) this.#options.log.rows.set(SESSION_ROW + key, undefined);
    reportUnreadable(unreadable, this.#options);
  }

  async stop(): Promise<void> {
    this.#isClosed = true;
    this.retained.stop();
    const stopping = inTime(this.sessions.stop(), STOP_TIMEOUT_MS, () => new Error("the store does not answer"));
    await stopping.catch((err: unknown) => {
      this.#options.logger.warn({ err }, "sessions not stored at the end: messages will be repeated");
    });
  }

  keep(key: string, owner: SessionOwner, expiry?: number): Promise<Kept> {
    return this.#connecting(key, () => this.#keep(key, owner, expiry));
  }

  async #keep(key: string, owner: SessionOwner, expiry: number | undefined): Promise<Kept> {
    await this.#take(key);
    const { maxSessions, maxSessionsPerUser, now } = this.#options;
    const stored = this.sessions.get(key);
    if (stored !== undefined && hasExpired(stored, now())) await this.#discard(key);
    const known = this.sessions.get(key);
    if (known?.owner.identity !== owner.identity) {
      if (this.sessions.countOf(owner.identity) >= maxSessionsPerUser)
        return { refusedBy: "MAX_MQTT_SESSIONS_PER_USER" };
      if (known === undefined && this.sessions.size >= maxSessions) return { refusedBy: "MAX_MQTT_SESSIONS" };
      if (known !== undefined) await this.#discard(key);
    }
    const isResumed = this.sessions.get(key) !== undefined;
    this.sessions.keep(key, owner, expiry);
    await this.sessions.store(key);
    this.assertWriter(key);
    return { isResumed };
  }

  /** The client has disconnected: the session ends now, or its age counts from now. */
  async left(key: string): Promise<void> {
    const session = this.sessions.get(key);
    if (session === undefined) return;
    this.sessions.touch(session, true);
    if (session.expiry === 0) await this.#discardWhere((other) => other === session && other.isLeft);
  }

  discard(key: string): Promise<void> {
    return this.#connecting(key, async () => {
      const will = await this.#take(key);
      if (will !== undefined) this.wills.takenEnded(key, will);
      await this.#discard(key);
    });
  }

  /** @throws {RefusedConnectionError} the store does not answer in time */
  #connecting<Result>(key: string, task: () => Promise<Result>): Promise<Result> {
    // If the store answers too late, no connection uses the key any more.
    const running = this.#queue.run(key, () => task().finally(() => this.release(key)));
    return inTime(running, CONNECT_TIMEOUT_MS, () => unavailable("the store does not answer"));
  }

  /** No connection to this node uses the key any more. */
  release(key: string): void {
    // As long as the client's will is stored, this node has to publish the will.
    if (this.#options.isConnected(key) || this.wills.has(key)) return;
    this.sessions.save(key);
    this.#options.log.rows.release(key);
  }

  /**
   * The client connects to this node, and continues the session that another node may have written.
   * @returns the row of the will that another node had
   */
  async #take(key: string): Promise<string | undefined> {
    const { rows } = this.#options.log;
    await this.#loading;
    const taken = await rows.take(key).catch((error: unknown) => {
      throw error instanceof StoreUnavailableError ? unavailable(error.message) : error;
    });
    this.assertWriter(key);
    if (taken === undefined) return undefined;
    if (!taken.isNewest) this.sessions.replace(key, taken.session);
    this.incoming.clear(key);
    for (const messageId of taken.incomingIds) this.incoming.add(key, messageId);
    return this.wills.has(key) ? undefined : taken.will;
  }

  /** @throws {RefusedConnectionError} another node writes the client's rows now */
  assertWriter(key: string): void {
    if (this.#options.log.rows.writerOf(key) !== "this") throw unavailable("the client has connected to another node");
  }

  #onTaken(key: string, row: string | undefined): void {
    this.sessions.taken(key, row);
    this.incoming.clear(key);
    this.wills.forget(key);
    this.#options.closeClients(key, true);
  }

  #onRemoved(key: string): void {
    this.sessions.forget(key);
    this.incoming.clear(key);
    this.wills.forget(key);
    this.#options.closeClients(key);
  }

  #onLeft(key: string, row: string): void {
    this.wills.forget(key);
    this.sessions.replace(key, row);
    this.#options.closeClients(key);
  }

  /** @returns whether the session is discarded: another node may have changed it just now */
  async #discard(key: string): Promise<boolean> {
    this.wills.sessionEnded(key);
    if (this.#options.log.rows.writerOf(key) === "this") await this.cleanIncoming(key);
    const session = this.sessions.get(key);
    if (session !== undefined) {
      const subscriptions = subscriptionsOf(session.cursor.filters);
      if (!(await this.sessions.remove(key))) return false;
      this.sessions.shares.groups.endSession(key, session.owner.identity, subscriptions);
    }
    this.incoming.clear(key);
    return true;
  }

  expire(moment: number, isConnected: (key: string) => boolean): Promise<number> {
    const now = this.#options.now();
    for (const session of this.sessions.entries())
      if (now - session.seenAt > TOUCH_AFTER_MS && isConnected(session.key)) this.sessions.touch(session);
    return this.#discardWhere((session) => {
      if (session.isElsewhere || isConnected(session.key)) return false;
      return session.seenAt < moment || hasExpired(session, now);
    });
  }

  discardWhere(matches: (owner: SessionOwner) => boolean): Promise<number> {
    return this.#discardWhere(({ owner }) => matches(owner));
  }

  /** Removes the client's message ids of QoS 2 publications. */
  async cleanIncoming(key: string): Promise<void> {
    const ids = this.incoming.of(key);
    this.incoming.clear(key);
    if (ids.length > 0)
      await this.#options.log.removeIncomingIds(ids.map((messageId) => ({ session: key, messageId })));
  }

  async #discardWhere(matches: (session: LogSession) => boolean): Promise<number> {
    let discarded = 0;
    for (const session of this.sessions.entries()) {
      if (!matches(session)) continue;
      await this.#queue.run(session.key, async () => {
        // The owner may have reconnected meanwhile.
        const now = this.sessions.get(session.key);
        if (now === undefined || !matches(now)) return;
        if (await this.#discard(session.key)) discarded++;
      });
    }
    return discarded;
  }
}

/** Whether the session's own expiry interval has passed. */
function hasExpired({ expiry, isLeft, seenAt }: LogSession, now: number): boolean {
  return expiry !== undefined && isLeft && now >= seenAt + expiry * 1_000;
}

function unavailable(why: string): RefusedConnectionError {
  return new RefusedConnectionError(ConnackCode.serverUnavailable, why);
}

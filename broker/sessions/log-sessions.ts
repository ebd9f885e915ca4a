import { messageOf } from "../../platform/errors.ts";
import type { LoggedPublication, LostPublications, PublicationPage } from "../../platform/publication-log.ts";
import type { FilterOptions } from "../access/filter-options.ts";
import type { PermissionSet } from "../access/permission-sets.ts";
import { sessionName } from "../access/session-names.ts";
import { ownerOf, type SessionOwner } from "../access/session-owner.ts";
import { parkBehind } from "./lost-publications.ts";
import { RowSaves } from "./row-saves.ts";
import { type BoundedCursor, SessionBounds, type SessionBoundsOptions } from "./session-bounds.ts";
import { SessionCursor } from "./session-cursor.ts";
import type { CursorRecord } from "./session-delivery.ts";
import { SessionGroups } from "./session-groups.ts";
import {
  type LogSession,
  loadRecords,
  readRecord,
  rowOf,
  SESSION_ROW,
  type StoredSession,
  sessionOf,
} from "./session-record.ts";
import { recordUpTo } from "./session-rollback.ts";
import { SessionTable } from "./session-table.ts";
import { LogShares } from "./shares/log-shares.ts";

const MAY_HAVE_MISSED = "session may have missed messages: the store has lost some";
const WINDOW = 2_048;
/** A session that is far behind takes turns with others: it waits after this many unwritten publications. */
const MAX_UNWRITTEN = 64;

export interface LogSessionsOptions extends SessionBoundsOptions {
  maxShareGroups: number;
  maxShareGroupsPerUser: number;
  permissionsOf(permissions: readonly string[]): PermissionSet;
  /** Whether acknowledged messages on this topic are reported. */
  wantsReceipt(topic: string): boolean;
}

/** The persistent sessions: their owners and cursors in memory, with one row each in the journal's store. */
export class LogSessions {
  readonly #options: LogSessionsOptions;
  readonly #sessions = new SessionTable();
  readonly #groups: SessionGroups;
  readonly bounds: SessionBounds;
  readonly #saves: RowSaves<LogSession>;
  readonly shares: LogShares;
  readonly #ends: (() => void)[] = [];
  #edge: number;
  /** Sessions whose rows are being removed. */
  #removing = 0;

  constructor(options: LogSessionsOptions) {
    this.#options = options;
    const { log, maxOfflineMessages: maxMessages, maxOfflineBytes: maxBytes } = options;
    this.#edge = log.publications.head;
    this.#groups = new SessionGroups({ maxMessages, maxBytes }, () => this.#edge);
    this.#saves = new RowSaves((session) => this.#put(session));
    const groups = this.#groups;
    this.bounds = new SessionBounds(options, {
      ...{ groups, all: () => this.#cursors(), edge: () => this.#edge },
      onMoved: ({ key }) => {
        const session = this.#sessions.get(key);
        if (session !== undefined) this.#saves.note(session);
      },
    });
    this.shares = new LogShares(options, {
      ...{ groups, edge: () => this.#edge },
      permissionsOf: (key) => {
        const session = this.#sessions.get(key);
        return session && options.permissionsOf(session.owner.permissions);
      },
      isSubscribed: (key, filter) => this.#sessions.get(key)?.cursor.filters.has(filter) ?? false,
      beginStoring: () => this.#beginStoring(),
      onEnded: () => this.#mayEndStoring(),
      onDropped: (group, count) => this.bounds.drop(group, count, "shared subscription full"),
    });
  }

  *#cursors(): Generator<BoundedCursor> {
    yield* this.#sessions.values();
    yield* this.shares.cursors();
  }

  /** Whether nobody needs stored publications. */
  get #isEmpty(): boolean {
    return this.#sessions.size + this.shares.size === 0;
  }

  /** @returns whether publications were not stored before */
  #beginStoring(): boolean {
    this.#options.log.publications.storeFor?.(true);
    return this.#isEmpty;
  }

  #mayEndStoring(): void {
    if (this.#isEmpty && this.#removing === 0) this.#options.log.publications.storeFor?.(false);
  }

  /**
   * Counts what sessions lose with these publications. Call this before the connections are closed.
   * @returns for {@link load}: what this node knows about its sessions, of which the store has lost the newest changes
   */
  lose({ after, publications }: LostPublications): Map<string, CursorRecord> {
    this.bounds.lose(publications);
    const records = new Map<string, CursorRecord>();
    for (const { key, cursor, isElsewhere } of this.#sessions.values())
      if (!isElsewhere) records.set(key, recordUpTo(cursor.record(), after));
    return records;
  }

  /**
   * Loads everything, or loads it again. Cursors from before have no effect any more.
   * @param known as {@link lose} returns it. Default: the rows in the store are the newest
   * @returns the keys of the sessions whose rows are unreadable, and of those that may have missed publications
   */
  async load(
    known: ReadonlyMap<string, CursorRecord> = new Map(),
  ): Promise<{ unreadable: string[]; missed: string[] }> {
    for (const end of this.#ends.splice(0)) end();
    for (const session of this.entries()) this.forget(session.key);
    this.bounds.clear();
    return await this.#load(known);
  }

  async #load(known: ReadonlyMap<string, CursorRecord>): ReturnType<LogSessions["load"]> {
    const { log } = this.#options;
    const { records, unreadable } = await loadRecords(log.rows);
    const missed = new Set<LogSession>();
    this.#edge = log.publications.head;
    let lowest = this.#edge;
    for (const [key, record] of records) {
      const newer = log.rows.isUnchanged(key) ? known.get(key) : undefined;
      const session = this.#add(key, { ...record, ...newer });
      session.isElsewhere = log.rows.writerOf(key) === "other";
      if (session.isElsewhere) continue;
      if (newer !== undefined) {
        this.#saves.note(session);
        this.#saves.save(session);
      } else if (!log.publications.isKnown(record.epoch)) {
        missed.add(session);
        session.toldUntil = this.#edge;
        if (log.rows.writerOf(key) === "this") this.#saves.note(session);
      }
      this.#place(session, 0);
      lowest = Math.min(lowest, session.cursor.sent);
    }
    lowest = Math.min(lowest, await this.shares.load());
    // One pass for all sessions, to know which of them have something behind them. Other nodes may append meanwhile.
    for (let after = lowest; !this.#isEmpty && after < log.publications.head; ) {
      const { publications, next, missing, stored: times } = await log.publications.scan(after);
      this.bounds.add(publications, times);
      if (missing !== undefined) for (const session of this.#missedBy(missing)) missed.add(session);
      for (const publication of publications)
        for (const group of this.#groups.match(publication)) group.note(publication);
      after = next;
    }
    this.#edge = log.publications.head;
    log.publications.storeFor?.(!this.#isEmpty);
    this.#ends.push(
      log.publications.follow((publications, head) => this.#follow(publications, head)),
      log.publications.onCompacted((upTo, bytes) => this.bounds.removed(upTo, bytes)),
      log.rows.beforeWrite(() => this.#saves.saveSome()),
    );
    this.bounds.start();
    for (const { key } of missed) this.#options.logger.warn(sessionName(key), MAY_HAVE_MISSED);
    return { unreadable, missed: [...missed].map(({ key }) => key) };
  }

  *#missedBy({ before }: NonNullable<PublicationPage["missing"]>): Generator<LogSession> {
    for (const session of this.#sessions.values()) {
      if (session.cursor.sent >= before - 1 || this.#groups.groupOf(session.cursor) === undefined) continue;
      session.toldUntil = Math.max(session.toldUntil, before);
      yield session;
    }
  }

  async stop(): Promise<void> {
    for (const end of this.#ends.splice(0)) end();
    await this.bounds.stop();
    this.shares.stop();
    await this.flush();
  }

  get size(): number {
    return this.#sessions.size;
  }

  get(key: string): LogSession | undefined {
    return this.#sessions.get(key);
  }

  countOf(identity: string): number {
    return this.#sessions.countOf(identity);
  }

  entries(): LogSession[] {
    return [...this.#sessions.values()];
  }

  /**
   * Creates the session, or changes its owner's permissions and its expiry. Call {@link flush} before the client is
   * answered. @param expiry seconds. Undefined: `MQTT_SESSION_HOURS`
   */
  keep(key: string, owner: SessionOwner, expiry?: number): LogSession {
    const seenAt = this.#options.now();
    const known = this.#sessions.get(key);
    // The write with the session's row follows all writes without publications, and the client subscribes after it.
    this.#options.log.publications.storeFor?.(true);
    const session = known ?? this.#add(key, { ...owner, seenAt, sent: this.#edge, open: [], filters: [] });
    session.owner = ownerOf(owner);
    session.seenAt = seenAt;
    session.expiry = expiry;
    session.isLeft = false;
    this.#place(session);
    this.#saves.note(session);
    return session;
  }

  /** The session's age counts from now. @param isLeft the client has disconnected. Default: as before */
  touch(session: LogSession, isLeft = session.isLeft): void {
    session.isLeft = isLeft;
    session.seenAt = this.#options.now();
    this.#saves.note(session);
  }

  /** Changes the session expiry interval. @param expiry seconds. Undefined: `MQTT_SESSION_HOURS` */
  setExpiry(session: LogSession, expiry: number | undefined): void {
    session.expiry = expiry;
    this.#saves.note(session);
  }

  /** Removes the session durably. @returns false if another node has just changed it: it stays */
  async remove(key: string): Promise<boolean> {
    const { rows } = this.#options.log;
    // From now on, nothing of the session may be written.
    if (rows.writerOf(key) === "this") this.forget(key);
    this.#removing++;
    const isRemoved = await rows.removeSession(key).finally(() => this.#removing--);
    if (isRemoved) this.forget(key);
    this.#mayEndStoring();
    return isRemoved;
  }

  /** Forgets the session, and leaves its row to others. */
  forget(key: string): void {
    const session = this.#sessions.get(key);
    if (session === undefined) return;
    this.#detach(session);
    this.#sessions.delete(session);
  }

  /** The session's client has connected to another node. @param row the row of a session that is new there */
  taken(key: string, row: string | undefined): void {
    if (row !== undefined) this.replace(key, row);
    const session = this.#sessions.get(key);
    if (session === undefined) return;
    this.#detach(session);
    session.isElsewhere = true;
    // The connection may still have the old cursor, which has no effect any more.
    session.cursor = this.#cursorOf(key, session.cursor.record());
  }

  /** Another node has written the session's row, and writes it no longer. @param row undefined: there is no session */
  replace(key: string, row: string | undefined): void {
    this.forget(key);
    const record = row === undefined ? undefined : this.#read(key, row);
    if (record === undefined) {
      if (row !== undefined)
        this.#options.logger.error(sessionName(key), "MQTT session lost: its record is unreadable");
      return;
    }
    const session = this.#add(key, record);
    this.#place(session);
    const { publications } = this.#options.log;
    parkBehind(session.cursor, this.#groups.groupOf(session.cursor), publications, this.#edge);
  }

  subscribe(session: LogSession, filter: string, options: FilterOptions): void {
    session.cursor.subscribe(filter, options);
    this.#place(session);
  }

  unsubscribe(session: LogSession, filter: string): void {
    session.cursor.unsubscribe(filter);
    this.#place(session);
  }

  /** Resolves when all changes are durable. @throws {StoreUnavailableError} */
  async flush(): Promise<void> {
    this.#saves.saveAll();
    this.shares.saveAll();
    await this.#options.log.rows.flush();
  }

  /** Resolves when the session's changes are durable. @throws {StoreUnavailableError} */
  async store(key: string): Promise<void> {
    this.save(key);
    await this.#options.log.rows.flush();
  }

  #add(key: string, record: SessionOwner & Omit<StoredSession, "v" | "epoch">): LogSession {
    const session = sessionOf(key, record, this.#cursorOf(key, record), this.#options.now());
    this.#sessions.add(session);
    return session;
  }

  #cursorOf(key: string, record: CursorRecord): SessionCursor {
    const { log, wantsReceipt, now, logger } = this.#options;
    const cursor: SessionCursor = new SessionCursor(record, {
      ...{ key, log: log.publications, edge: () => this.#edge, maxUnwritten: MAX_UNWRITTEN },
      window: Math.min(WINDOW, this.#options.maxOfflineMessages),
      onParked: () => this.#groups.groupOf(cursor)?.park(cursor),
      ...{ wantsReceipt, now },
      onChange: () => {
        const session = this.#sessions.of(cursor);
        if (session !== undefined) this.#saves.note(session);
      },
      onMissing: (missing) => {
        const session = this.#sessions.get(key);
        if (session !== undefined && missing.before > session.toldUntil)
          logger.error({ ...sessionName(key), ...missing }, MAY_HAVE_MISSED);
      },
      onReadFailed: (error) =>
        logger.warn({ why: messageOf(error) }, "messages for a session are unreadable, retrying"),
    });
    return cursor;
  }

  #detach(session: LogSession): void {
    this.#sessions.detach(session);
    this.#groups.remove(session.cursor);
    this.#saves.forget(session);
  }

  #read(key: string, row: string): StoredSession | undefined {
    const record = readRecord(row);
    if (record !== undefined && !this.#options.log.publications.isKnown(record.epoch))
      this.#options.logger.warn(sessionName(key), "session may have missed messages: the journal has lost entries");
    return record;
  }

  #place({ cursor, owner }: LogSession, from?: number): void {
    // The session has ended, or has another cursor.
    if (this.#sessions.of(cursor) === undefined) return;
    const set = this.#options.permissionsOf(owner.permissions);
    const permissions = [...owner.permissions].sort().join("\n");
    const mayRead = (topic: string) => set.mayRead(topic);
    this.#groups.place(cursor, { filters: cursor.filters, permissions, mayRead }, from);
  }

  #follow(publications: readonly LoggedPublication[], head: number): void {
    for (const publication of publications) {
      for (const group of this.#groups.match(publication)) {
        const { qos } = group;
        if (qos !== 0) for (const cursor of group.members) cursor.offer(publication, qos);
        group.note(publication);
      }
      this.#edge = publication.position;
    }
    this.#edge = head;
    if (!this.#isEmpty) this.bounds.add(publications);
  }

  /** Puts the session's changes into the next write. Call this before the node releases the session: later changes are not stored. */
  save(key: string): void {
    const session = this.#sessions.get(key);
    if (session !== undefined) this.#saves.save(session);
  }

  #put(session: LogSession): void {
    const { rows, publications } = this.#options.log;
    // Every node passes over publications for a session without a connection, so that no node has to store the place.
    if (rows.writerOf(session.key) === "this") rows.set(SESSION_ROW + session.key, rowOf(session, publications.epoch));
  }
}

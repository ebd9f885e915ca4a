import { messageOf } from "../../platform/errors.ts";
import type { FilterOptions } from "../access/filter-options.ts";
import type { PermissionSet } from "../access/permission-sets.ts";
import { sessionName } from "../access/session-names.ts";
import { ownerOf, type SessionOwner } from "../access/session-owner.ts";
import { parkBehind } from "./lost-publications.ts";
import { RowSaves } from "./row-saves.ts";
import type { SessionBoundsOptions } from "./session-bounds.ts";
import { SessionCursor } from "./session-cursor.ts";
import type { CursorRecord } from "./session-delivery.ts";
import { SessionGroups } from "./session-groups.ts";
import { type LogSession, readRecord, rowOf, SESSION_ROW, type StoredSession, sessionOf } from "./session-record.ts";
import { SessionTable } from "./session-table.ts";

export const MAY_HAVE_MISSED = "session may have missed messages: the store has lost some";
const WINDOW = 2_048;
/** A session that is far behind takes turns with others: it waits after this many unwritten publications. */
const MAX_UNWRITTEN = 64;

export interface SessionRegistryOptions extends SessionBoundsOptions {
  permissionsOf(permissions: readonly string[]): PermissionSet;
  /** Whether acknowledged messages on this topic are reported. */
  wantsReceipt(topic: string): boolean;
}

/** The persistent sessions in memory: creates, changes and forgets them, and saves their rows. */
export class SessionRegistry {
  readonly #options: SessionRegistryOptions;
  protected readonly table = new SessionTable();
  protected readonly groups: SessionGroups;
  protected readonly saves: RowSaves<LogSession>;
  /** Everything up to this position has been offered to live sessions. */
  protected edge: number;

  constructor(options: SessionRegistryOptions) {
    this.#options = options;
    const { log, maxOfflineMessages: maxMessages, maxOfflineBytes: maxBytes } = options;
    this.edge = log.publications.head;
    this.groups = new SessionGroups({ maxMessages, maxBytes }, () => this.edge);
    this.saves = new RowSaves((session) => this.#put(session));
  }

  get size(): number {
    return this.table.size;
  }

  get(key: string): LogSession | undefined {
    return this.table.get(key);
  }

  countOf(identity: string): number {
    return this.table.countOf(identity);
  }

  entries(): LogSession[] {
    return [...this.table.values()];
  }

  /**
   * Creates the session, or changes its owner's permissions and its expiry. Call `LogSessions.flush` before the client is
   * answered. @param expiry seconds. Undefined: `MQTT_SESSION_HOURS`
   */
  keep(key: string, owner: SessionOwner, expiry?: number): LogSession {
    const seenAt = this.#options.now();
    const known = this.table.get(key);
    // The write with the session's row follows all writes without publications, and the client subscribes after it.
    this.#options.log.publications.storeFor?.(true);
    const session = known ?? this.add(key, { ...owner, seenAt, sent: this.edge, open: [], filters: [] });
    session.owner = ownerOf(owner);
    session.seenAt = seenAt;
    session.expiry = expiry;
    session.isLeft = false;
    this.place(session);
    this.saves.note(session);
    return session;
  }

  /** The session's age counts from now. @param isLeft the client has disconnected. Default: as before */
  touch(session: LogSession, isLeft = session.isLeft): void {
    session.isLeft = isLeft;
    session.seenAt = this.#options.now();
    this.saves.note(session);
  }

  /** Changes the session expiry interval. @param expiry seconds. Undefined: `MQTT_SESSION_HOURS` */
  setExpiry(session: LogSession, expiry: number | undefined): void {
    session.expiry = expiry;
    this.saves.note(session);
  }

  /** Forgets the session, and leaves its row to others. */
  forget(key: string): void {
    const session = this.table.get(key);
    if (session === undefined) return;
    this.#detach(session);
    this.table.delete(session);
  }

  /** The session's client has connected to another node. @param row the row of a session that is new there */
  taken(key: string, row: string | undefined): void {
    if (row !== undefined) this.replace(key, row);
    const session = this.table.get(key);
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
    const session = this.add(key, record);
    this.place(session);
    const { publications } = this.#options.log;
    parkBehind(session.cursor, this.groups.groupOf(session.cursor), publications, this.edge);
  }

  subscribe(session: LogSession, filter: string, options: FilterOptions): void {
    session.cursor.subscribe(filter, options);
    this.place(session);
  }

  unsubscribe(session: LogSession, filter: string): void {
    session.cursor.unsubscribe(filter);
    this.place(session);
  }

  /** Puts the session's changes into the next write. Call this before the node releases the session: later changes are not stored. */
  save(key: string): void {
    const session = this.table.get(key);
    if (session !== undefined) this.saves.save(session);
  }

  #put(session: LogSession): void {
    const { rows, publications } = this.#options.log;
    // Every node passes over publications for a session without a connection, so that no node has to store the place.
    if (rows.writerOf(session.key) === "this") rows.set(SESSION_ROW + session.key, rowOf(session, publications.epoch));
  }

  protected add(key: string, record: SessionOwner & Omit<StoredSession, "v" | "epoch">): LogSession {
    const session = sessionOf(key, record, this.#cursorOf(key, record), this.#options.now());
    this.table.add(session);
    return session;
  }

  #cursorOf(key: string, record: CursorRecord): SessionCursor {
    const { log, wantsReceipt, now, logger } = this.#options;
    const cursor: SessionCursor = new SessionCursor(record, {
      ...{ key, log: log.publications, edge: () => this.edge, maxUnwritten: MAX_UNWRITTEN },
      window: Math.min(WINDOW, this.#options.maxOfflineMessages),
      onParked: () => this.groups.groupOf(cursor)?.park(cursor),
      ...{ wantsReceipt, now },
      onChange: () => {
        const session = this.table.of(cursor);
        if (session !== undefined) this.saves.note(session);
      },
      onMissing: (missing) => {
        const session = this.table.get(key);
        if (session !== undefined && missing.before > session.toldUntil)
          logger.error({ ...sessionName(key), ...missing }, MAY_HAVE_MISSED);
      },
      onReadFailed: (error) =>
        logger.warn({ why: messageOf(error) }, "messages for a session are unreadable, retrying"),
    });
    return cursor;
  }

  #detach(session: LogSession): void {
    this.table.detach(session);
    this.groups.remove(session.cursor);
    this.saves.forget(session);
  }

  #read(key: string, row: string): StoredSession | undefined {
    const record = readRecord(row);
    if (record !== undefined && !this.#options.log.publications.isKnown(record.epoch))
      this.#options.logger.warn(sessionName(key), "session may have missed messages: the journal has lost entries");
    return record;
  }

  protected place({ cursor, owner }: LogSession, from?: number): void {
    // The session has ended, or has another cursor.
    if (this.table.of(cursor) === undefined) return;
    const set = this.#options.permissionsOf(owner.permissions);
    const permissions = [...owner.permissions].sort().join("\n");
    const mayRead = (topic: string) => set.mayRead(topic);
    this.groups.place(cursor, { filters: cursor.filters, permissions, mayRead }, from);
  }
}

import type { Logger } from "pino";
import { z } from "zod";
import { Counts } from "../../platform/counts.ts";
import { messageOf } from "../../platform/errors.ts";
import { type LoggedPublication, type MqttLog, type PublicationPage, sizeOf } from "../../platform/publication-log.ts";
import type { PermissionSet } from "../access/permission-sets.ts";
import { sessionName } from "../access/session-names.ts";
import { ownerOf, type SessionOwner, sessionOwnerSchema } from "../access/session-owner.ts";
import { LogBounds } from "./log-bounds.ts";
import { above, publicationsUpTo } from "./lost-publications.ts";
import { SessionCursor } from "./session-cursor.ts";
import { SessionGroups } from "./session-groups.ts";

/** The start of the keys of the sessions' rows. The rest of a key is the session's key. */
const SESSION_ROW = "session:";
const MAY_HAVE_MISSED = "session may have missed messages: the store has lost some";
const NOTHING = { messages: 0, bytes: 0 };
const WINDOW = 2_048;
/** A session that is far behind takes turns with others: it waits after this many unwritten publications. */
const MAX_UNWRITTEN = 64;
/**
 * Changed records that no acknowledgement waits for are written this often, and not more of them each time, in the order
 * of their changes: what many sessions receive must not cost as many writes.
 */
const SAVE_INTERVAL_MS = 50;
const MAX_SAVES = 64;
/** The log is trimmed once this much can be removed, so that a trim is no write for each message. */
const TRIM_BYTES = 1024 * 1024;
/** How often sessions without news move on, full sessions are cut, and the log is trimmed. */
const SWEEP_INTERVAL_MS = 1_000;

const qosSchema = z.union([z.literal(0), z.literal(1), z.literal(2)]);
const positionSchema = z.number().int().nonnegative();
const recordSchema = sessionOwnerSchema.extend({
  /** The version of the record's format. */
  v: z.literal(1),
  /** When the session's client last connected or disconnected, milliseconds since 1970. */
  seenAt: z.number(),
  epoch: z.string(),
  sent: positionSchema,
  open: z.array(
    z.tuple([
      positionSchema,
      z.union([z.literal(1), z.literal(2)]),
      z.union([z.literal(0), z.literal(1)]),
      z.number().int().optional(),
    ]),
  ),
  filters: z.array(z.tuple([z.string(), qosSchema, positionSchema])),
});

export interface LogSession {
  readonly key: string;
  owner: SessionOwner;
  seenAt: number;
  cursor: SessionCursor;
  /** The client is connected to another node. This node has no use for the cursor. */
  isElsewhere: boolean;
  /** Whether it has been logged that the session loses publications. */
  isDropping: boolean;
  /** It has been logged that the session may have missed publications up to this position. */
  toldUntil: number;
  savedAt: number;
}

export interface LogSessionsOptions {
  log: MqttLog;
  permissionsOf(permissions: readonly string[]): PermissionSet;
  /** Whether acknowledged messages on this topic are reported. */
  wantsReceipt(topic: string): boolean;
  maxOfflineMessages: number;
  maxOfflineBytes: number;
  /** The largest size and age of all publications that sessions have behind them. Infinity: no limit. */
  maxOfflineLogBytes: number;
  maxOfflineHours: number;
  /** The time by which sessions expire, milliseconds since 1970. */
  now: () => number;
  logger: Logger;
}

/** The persistent sessions: their owners and cursors in memory, with one row each in the journal's store. */
export class LogSessions {
  readonly #options: LogSessionsOptions;
  readonly #sessions = new Map<string, LogSession>();
  readonly #ofCursor = new Map<SessionCursor, LogSession>();
  /** Sessions per identity. */
  readonly #counts = new Counts();
  readonly #groups: SessionGroups;
  readonly #bounds: LogBounds;
  /** In the order of their first change after they were saved. */
  readonly #changed = new Set<LogSession>();
  /** Until it fires, this many changed records may be saved. */
  #saveTimer: NodeJS.Timeout | undefined;
  #saves = MAX_SAVES;
  readonly #ends: (() => void)[] = [];
  #edge: number;
  #isGivingUp = false;
  /** Sessions whose rows are being removed. */
  #removing = 0;
  #sweepTimer: NodeJS.Timeout | undefined;
  /** Publications that sessions have lost because they had too many behind them. */
  dropped = 0;

  constructor(options: LogSessionsOptions) {
    this.#options = options;
    const { log, maxOfflineMessages: maxMessages, maxOfflineBytes: maxBytes } = options;
    this.#edge = log.publications.head;
    this.#groups = new SessionGroups({ maxMessages, maxBytes }, () => this.#edge);
    this.#bounds = new LogBounds({
      ...{ log: log.publications, now: options.now, logger: options.logger },
      isFirstNode: () => log.rows.isFirstNode,
      maxBytes: options.maxOfflineLogBytes,
      maxAgeMs: options.maxOfflineHours * 3_600_000,
      lowest: () => this.#groups.lowest(),
      match: (publication) => this.#groups.match(publication),
      open: () => new Set(this.entries().flatMap(({ cursor }) => [...cursor.unacknowledged()])),
    });
  }

  /**
   * Loads everything, or loads it again. Cursors from before have no effect any more.
   * @returns the keys of the sessions whose rows are unreadable, and of those that may have missed publications
   */
  async load(): Promise<{ unreadable: string[]; missed: string[] }> {
    clearInterval(this.#sweepTimer);
    for (const end of this.#ends.splice(0)) end();
    for (const session of this.entries()) this.forget(session.key);
    this.#bounds.clear();
    return await this.#load();
  }

  async #load(): ReturnType<LogSessions["load"]> {
    const { log } = this.#options;
    const stored: [key: string, row: string][] = [];
    for await (const [rowKey, row] of log.rows.load(SESSION_ROW)) stored.push([rowKey.slice(SESSION_ROW.length), row]);
    const unreadable: string[] = [];
    const missed = new Set<LogSession>();
    this.#edge = log.publications.head;
    let lowest = this.#edge;
    for (const [key, row] of stored) {
      const record = readRecord(row);
      if (record === undefined) {
        unreadable.push(key);
        continue;
      }
      const session = this.#add(key, record, record);
      session.isElsewhere = log.rows.writerOf(key) === "other";
      if (session.isElsewhere) continue;
      if (record.epoch !== log.publications.epoch) {
        missed.add(session);
        session.toldUntil = this.#edge;
        if (log.rows.writerOf(key) === "this") this.#note(session);
      }
      this.#place(session, 0);
      lowest = Math.min(lowest, session.cursor.sent);
    }
    // One pass for all sessions, to know which of them have something behind them. Other nodes may append meanwhile.
    for (let after = lowest; this.#sessions.size > 0 && after < log.publications.head; ) {
      const { publications, next, missing, stored: times } = await log.publications.scan(after);
      this.#bounds.add(publications, times);
      if (missing !== undefined) for (const session of this.#missedBy(missing)) missed.add(session);
      for (const publication of publications)
        for (const group of this.#groups.match(publication)) group.note(publication);
      after = next;
    }
    this.#edge = log.publications.head;
    log.publications.storeFor?.(this.#sessions.size > 0);
    this.#ends.push(
      log.publications.follow((publications, head) => this.#follow(publications, head)),
      log.publications.onCompacted((upTo, bytes) => this.#bounds.removed(upTo, bytes)),
      log.rows.beforeWrite(() => this.#saveSome()),
    );
    this.#sweep();
    this.#sweepTimer = setInterval(() => this.#sweep(), SWEEP_INTERVAL_MS).unref();
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
    clearInterval(this.#sweepTimer);
    for (const end of this.#ends.splice(0)) end();
    await this.#bounds.stop();
    await this.flush();
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** The size of all publications that sessions have behind them, approximate. */
  get logBytes(): number {
    return this.#bounds.bytes;
  }

  get(key: string): LogSession | undefined {
    return this.#sessions.get(key);
  }

  countOf(identity: string): number {
    return this.#counts.of(identity);
  }

  entries(): LogSession[] {
    return [...this.#sessions.values()];
  }

  /** The publications that all sessions together have behind them, approximate. */
  get totals(): { messages: number; bytes: number } {
    let messages = 0;
    let bytes = 0;
    for (const { cursor, isElsewhere } of this.#sessions.values()) {
      if (isElsewhere) continue;
      const behind = this.#groups.groupOf(cursor)?.behind(cursor);
      messages += cursor.open + (behind?.messages ?? 0);
      bytes += behind?.bytes ?? 0;
    }
    return { messages, bytes };
  }

  /** Creates the session, or changes its owner's permissions. Call {@link flush} before the client is answered. */
  keep(key: string, owner: SessionOwner): LogSession {
    const seenAt = this.#options.now();
    const known = this.#sessions.get(key);
    // The write with the session's row follows all writes without publications, and the client subscribes after it.
    this.#options.log.publications.storeFor?.(true);
    const session = known ?? this.#add(key, { ...owner, seenAt }, { sent: this.#edge, open: [], filters: [] });
    session.owner = ownerOf(owner);
    session.seenAt = seenAt;
    this.#place(session);
    this.#note(session);
    return session;
  }

  left(key: string): void {
    const session = this.#sessions.get(key);
    if (session === undefined) return;
    session.seenAt = this.#options.now();
    this.#note(session);
  }

  /** Removes the session durably. @returns false if another node has just changed it: it stays */
  async remove(key: string): Promise<boolean> {
    const { rows, publications } = this.#options.log;
    // From now on, nothing of the session may be written.
    if (rows.writerOf(key) === "this") this.forget(key);
    this.#removing++;
    const isRemoved = await rows.removeSession(key).finally(() => this.#removing--);
    if (isRemoved) this.forget(key);
    if (this.#sessions.size === 0 && this.#removing === 0) publications.storeFor?.(false);
    return isRemoved;
  }

  /** Forgets the session, and leaves its row to others. */
  forget(key: string): void {
    const session = this.#sessions.get(key);
    if (session === undefined) return;
    this.#sessions.delete(key);
    this.#counts.subtract(session.owner.identity);
    this.#detach(session);
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
    const session = this.#add(key, record, record);
    this.#place(session);
    this.#countBehind(session.cursor);
  }

  subscribe({ cursor }: LogSession, filter: string, qos: 0 | 1 | 2): void {
    cursor.subscribe(filter, qos);
    this.#placeCursor(cursor);
  }

  unsubscribe({ cursor }: LogSession, filter: string): void {
    cursor.unsubscribe(filter);
    this.#placeCursor(cursor);
  }

  /** Cuts a session that has too much behind it, before its client gets the rest. */
  prepare({ cursor }: LogSession): void {
    this.#cut(cursor);
  }

  /** Resolves when all changes are durable. @throws {StoreUnavailableError} */
  async flush(): Promise<void> {
    clearTimeout(this.#saveTimer);
    this.#saveTimer = undefined;
    for (const session of this.#changed) this.#put(session);
    await this.#options.log.rows.flush();
  }

  /** Counts what a session that comes from another node has behind it, as far as memory reaches back. */
  #countBehind(cursor: SessionCursor): void {
    let messages = 0;
    let bytes = 0;
    let hasNothing = true;
    for (let after = cursor.sent; after < this.#edge; ) {
      const page = this.#options.log.publications.recent(after);
      if (page === undefined) return;
      for (const publication of page.publications) {
        if (publication.position > this.#edge || cursor.qosOf(publication) === 0) continue;
        hasNothing = false;
        // As in a group, references do not count.
        if (publication.reference !== undefined) continue;
        messages++;
        bytes += sizeOf(publication);
      }
      after = page.next;
    }
    if (hasNothing) cursor.skipTo(this.#edge);
    this.#groups.groupOf(cursor)?.park(cursor, messages, bytes);
  }

  /** Resolves when the session's changes are durable. @throws {StoreUnavailableError} */
  async store(key: string): Promise<void> {
    this.save(key);
    await this.#options.log.rows.flush();
  }

  #add(key: string, { seenAt, ...owner }: SessionOwner & { seenAt: number }, record: Stored): LogSession {
    const cursor = this.#cursorOf(key, record);
    const fresh = { isElsewhere: false, isDropping: false, toldUntil: 0, savedAt: 0 };
    const session: LogSession = { key, owner: ownerOf(owner), seenAt, cursor, ...fresh };
    this.#sessions.set(key, session);
    this.#ofCursor.set(cursor, session);
    this.#counts.add(owner.identity);
    return session;
  }

  #cursorOf(key: string, record: Stored): SessionCursor {
    const { log, wantsReceipt, now, logger } = this.#options;
    const cursor: SessionCursor = new SessionCursor(record, {
      ...{ log: log.publications, edge: () => this.#edge, maxUnwritten: MAX_UNWRITTEN },
      window: Math.min(WINDOW, this.#options.maxOfflineMessages),
      onParked: () => this.#groups.groupOf(cursor)?.park(cursor),
      ...{ wantsReceipt, now },
      onChange: () => {
        const session = this.#ofCursor.get(cursor);
        if (session !== undefined) this.#note(session);
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
    this.#ofCursor.delete(session.cursor);
    this.#groups.remove(session.cursor);
    this.#changed.delete(session);
  }

  #read(key: string, row: string): z.infer<typeof recordSchema> | undefined {
    const record = readRecord(row);
    if (record !== undefined && record.epoch !== this.#options.log.publications.epoch)
      this.#options.logger.warn(sessionName(key), "session may have missed messages: the journal has lost entries");
    return record;
  }

  #placeCursor(cursor: SessionCursor): void {
    const session = this.#ofCursor.get(cursor);
    if (session !== undefined) this.#place(session);
  }

  #place({ cursor, owner }: LogSession, from?: number): void {
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
    if (this.#sessions.size > 0) this.#bounds.add(publications);
  }

  #note(session: LogSession): void {
    this.#changed.add(session);
    this.#saveTimer ??= setTimeout(() => {
      this.#saveTimer = undefined;
      this.#saves = MAX_SAVES;
      this.#saveSome();
      const [waiting] = this.#changed;
      if (waiting !== undefined) this.#note(waiting);
    }, SAVE_INTERVAL_MS).unref();
  }

  /** Puts the session's changes into the next write. Call this before the node releases the session: later changes are not stored. */
  save(key: string): void {
    const session = this.#sessions.get(key);
    if (session !== undefined && this.#changed.has(session)) this.#put(session);
  }

  /** Not those that were saved recently: the journal may write after every message. */
  #saveSome(): void {
    const moment = performance.now();
    for (const session of this.#changed) {
      if (this.#saves === 0) return;
      if (moment - session.savedAt < SAVE_INTERVAL_MS) continue;
      this.#saves--;
      session.savedAt = moment;
      this.#put(session);
    }
  }

  #put(session: LogSession): void {
    const { rows, publications } = this.#options.log;
    this.#changed.delete(session);
    // Every node passes over publications for a session without a connection, so that no node has to store the place.
    if (rows.writerOf(session.key) === "this") rows.set(SESSION_ROW + session.key, rowOf(session, publications.epoch));
  }

  #sweep(): void {
    const { publications, rows } = this.#options.log;
    let floor = this.#edge;
    let connected = this.#edge;
    for (const { key, cursor, isElsewhere } of this.#sessions.values()) {
      if (isElsewhere) continue;
      const group = this.#groups.groupOf(cursor);
      if (cursor.isAway && (group === undefined || group.hasNothingFor(cursor))) {
        cursor.skipTo(this.#edge);
        group?.park(cursor);
      } else this.#cut(cursor);
      floor = Math.min(floor, cursor.floor);
      if (rows.writerOf(key) === "this") connected = Math.min(connected, cursor.floor);
    }
    if (publications.bytes >= Math.min(TRIM_BYTES, this.#bounds.softBytes) || this.#bounds.excess() > 0)
      publications.trim(floor, connected);
    this.#bounds.trim(publications.floor);
    const excess = this.#bounds.excess();
    if (excess > 0) void this.#giveUp(excess);
    else this.#bounds.compact();
  }

  /** Removes the oldest publications, although sessions have them behind them. */
  async #giveUp(upTo: number): Promise<void> {
    if (this.#isGivingUp) return;
    this.#isGivingUp = true;
    const { log, logger } = this.#options;
    try {
      const lost = await publicationsUpTo(upTo, log.publications, (publication) => this.#groups.match(publication));
      for (const session of this.#sessions.values()) {
        const { cursor, isElsewhere } = session;
        if (isElsewhere || cursor.floor >= upTo) continue;
        const group = this.#groups.groupOf(cursor);
        const unsent = cursor.isLive || group === undefined ? NOTHING : above(cursor.sent, lost.get(group));
        group?.lose(cursor, upTo, unsent);
        cursor.skipTo(upTo);
        this.#dropped(session, unsent.messages + cursor.giveUp(upTo), "the log of messages is too large or too old");
      }
      log.publications.trim(upTo);
      this.#bounds.trim(upTo);
    } catch (error) {
      logger.warn({ why: messageOf(error) }, "old messages of MQTT sessions cannot be removed, retrying");
    }
    this.#isGivingUp = false;
  }

  #cut(cursor: SessionCursor): void {
    const session = this.#ofCursor.get(cursor);
    const dropped = this.#groups.groupOf(cursor)?.cut(cursor) ?? 0;
    if (session === undefined) return;
    if (dropped === 0) {
      if (cursor.isLive) session.isDropping = false;
      return;
    }
    this.#dropped(session, dropped, "session queue full");
  }

  #dropped(session: LogSession, dropped: number, reason: string): void {
    if (dropped === 0) return;
    const { maxOfflineMessages: maxMessages, maxOfflineBytes: maxBytes, logger } = this.#options;
    const { maxOfflineLogBytes: maxLogBytes, maxOfflineHours: maxHours } = this.#options;
    const { rows } = this.#options.log;
    this.#note(session);
    // Each node moves a session without a connection forward, and one node counts and tells.
    if (rows.writerOf(session.key) === "nobody" && !rows.isFirstNode) return;
    this.dropped += dropped;
    if (session.isDropping) return;
    session.isDropping = true;
    const fields = { ...sessionName(session.key), dropped, maxMessages, maxBytes, maxLogBytes, maxHours };
    logger.warn(fields, `${reason}: oldest messages dropped`);
  }
}

export type StoredSession = z.infer<typeof recordSchema>;
type Stored = Pick<StoredSession, "sent" | "open" | "filters">;

function rowOf({ owner, seenAt, cursor }: LogSession, epoch: string): string {
  return JSON.stringify({ v: 1, ...owner, seenAt, epoch, ...cursor.record() });
}

function readRecord(row: string): StoredSession | undefined {
  try {
    return recordSchema.parse(JSON.parse(row));
  } catch {
    return undefined;
  }
}

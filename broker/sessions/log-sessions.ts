import type { Logger } from "pino";
import { z } from "zod";
import { Counts } from "../../platform/counts.ts";
import { messageOf } from "../../platform/errors.ts";
import type { LoggedPublication, MqttLog } from "../../platform/publication-log.ts";
import type { PermissionSet } from "../access/permission-sets.ts";
import { sessionName } from "../access/session-names.ts";
import { ownerOf, type SessionOwner, sessionOwnerSchema } from "../access/session-owner.ts";
import { SessionCursor } from "./session-cursor.ts";
import { SessionGroups } from "./session-groups.ts";

/** The start of the keys of the sessions' rows. The rest of a key is the session's key. */
export const SESSION_ROW = "session:";
const WINDOW = 2_048;
/** A session that is far behind takes turns with others: it waits after this many unwritten publications. */
const MAX_UNWRITTEN = 64;
/** The shortest time between two writes of a changed record that no acknowledgement waits for. */
const SAVE_INTERVAL_MS = 50;
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
  readonly cursor: SessionCursor;
  /** Whether it has been logged that the session loses publications. */
  isDropping: boolean;
  savedAt: number;
}

export interface LogSessionsOptions {
  log: MqttLog;
  permissionsOf(permissions: readonly string[]): PermissionSet;
  /** Whether acknowledged messages on this topic are reported. */
  wantsReceipt(topic: string): boolean;
  maxOfflineMessages: number;
  maxOfflineBytes: number;
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
  readonly #changed = new Set<LogSession>();
  readonly #ends: (() => void)[] = [];
  #edge: number;
  #sweepTimer: NodeJS.Timeout | undefined;
  /** Publications that sessions have lost because they had too many behind them. */
  dropped = 0;

  constructor(options: LogSessionsOptions) {
    this.#options = options;
    const { log, maxOfflineMessages: maxMessages, maxOfflineBytes: maxBytes } = options;
    this.#edge = log.publications.head;
    this.#groups = new SessionGroups({ maxMessages, maxBytes }, () => this.#edge);
  }

  /** @returns the keys of the sessions whose rows are unreadable */
  async load(): Promise<string[]> {
    const { log } = this.#options;
    const unreadable: string[] = [];
    let lowest = this.#edge;
    for await (const [rowKey, row] of log.rows.load(SESSION_ROW)) {
      const key = rowKey.slice(SESSION_ROW.length);
      const record = readRecord(row);
      if (record === undefined) {
        unreadable.push(key);
        continue;
      }
      if (record.epoch !== log.publications.epoch)
        this.#options.logger.warn(sessionName(key), "session may have missed messages: the journal has lost entries");
      const session = this.#add(key, record, record);
      this.#place(session, 0);
      lowest = Math.min(lowest, session.cursor.sent);
    }
    // One pass for all sessions, to know which of them have something behind them.
    for (let after = lowest; this.#sessions.size > 0 && after < this.#edge; ) {
      const { publications, next } = await log.publications.scan(after);
      for (const publication of publications)
        for (const group of this.#groups.match(publication)) group.note(publication);
      after = next;
    }
    this.#ends.push(
      log.publications.follow((publications, head) => this.#follow(publications, head)),
      log.rows.beforeWrite(() => this.#putChanged(false)),
    );
    this.#sweep();
    this.#sweepTimer = setInterval(() => this.#sweep(), SWEEP_INTERVAL_MS).unref();
    return unreadable;
  }

  async stop(): Promise<void> {
    clearInterval(this.#sweepTimer);
    for (const end of this.#ends.splice(0)) end();
    this.#putChanged(true);
    await this.#options.log.rows.flush();
  }

  get size(): number {
    return this.#sessions.size;
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

  /** What all sessions have behind them, approximate. */
  get totals(): { messages: number; bytes: number } {
    let messages = 0;
    let bytes = 0;
    for (const { cursor } of this.#sessions.values()) {
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

  remove(key: string): void {
    const session = this.#sessions.get(key);
    if (session === undefined) return;
    this.#sessions.delete(key);
    this.#ofCursor.delete(session.cursor);
    this.#groups.remove(session.cursor);
    this.#counts.subtract(session.owner.identity);
    this.#changed.delete(session);
    this.#options.log.rows.set(SESSION_ROW + key, undefined);
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
    this.#putChanged(true);
    await this.#options.log.rows.flush();
  }

  #add(key: string, { seenAt, ...owner }: SessionOwner & { seenAt: number }, record: Stored): LogSession {
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
      onMissing: (missing) =>
        logger.error({ ...sessionName(key), ...missing }, "session may have missed messages: the store has lost some"),
      onReadFailed: (error) =>
        logger.warn({ why: messageOf(error) }, "messages for a session are unreadable, retrying"),
    });
    const session: LogSession = { key, owner: ownerOf(owner), seenAt, cursor, isDropping: false, savedAt: 0 };
    this.#sessions.set(key, session);
    this.#ofCursor.set(cursor, session);
    this.#counts.add(owner.identity);
    return session;
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
  }

  #note(session: LogSession): void {
    if (this.#changed.size === 0) {
      setTimeout(() => {
        if (this.#changed.size > 0) this.#putChanged(true);
      }, SAVE_INTERVAL_MS).unref();
    }
    this.#changed.add(session);
  }

  /** @param all false: only sessions that were not saved recently, because the journal may write after every message */
  #putChanged(all: boolean): void {
    const { log } = this.#options;
    const moment = performance.now();
    for (const session of this.#changed) {
      if (!all && moment - session.savedAt < SAVE_INTERVAL_MS) continue;
      session.savedAt = moment;
      this.#changed.delete(session);
      log.rows.set(SESSION_ROW + session.key, rowOf(session, log.publications.epoch));
    }
  }

  #sweep(): void {
    let floor = this.#edge;
    for (const { cursor } of this.#sessions.values()) {
      const group = this.#groups.groupOf(cursor);
      if (cursor.isAway && (group === undefined || group.hasNothingFor(cursor))) {
        cursor.skipTo(this.#edge);
        group?.park(cursor);
      } else this.#cut(cursor);
      floor = Math.min(floor, cursor.floor);
    }
    const { publications } = this.#options.log;
    if (publications.bytes >= TRIM_BYTES) publications.trim(floor);
  }

  #cut(cursor: SessionCursor): void {
    const { maxOfflineMessages, maxOfflineBytes, logger } = this.#options;
    const session = this.#ofCursor.get(cursor);
    const dropped = this.#groups.groupOf(cursor)?.cut(cursor) ?? 0;
    if (session === undefined) return;
    if (dropped === 0) {
      if (cursor.isLive) session.isDropping = false;
      return;
    }
    this.dropped += dropped;
    this.#note(session);
    if (session.isDropping) return;
    session.isDropping = true;
    const fields = { ...sessionName(session.key), dropped, maxMessages: maxOfflineMessages, maxBytes: maxOfflineBytes };
    logger.warn(fields, "session queue full: oldest messages dropped");
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

import type { Logger } from "pino";
import { messageOf } from "../../platform/errors.ts";
import type { LoggedPublication, MqttLog, PublicationPage } from "../../platform/publication-log.ts";
import { sessionName } from "../access/session-names.ts";
import { LogBounds } from "./log-bounds.ts";
import { above, positionsBySession, publicationsUpTo } from "./lost-publications.ts";
import type { LogCursor, SessionGroups } from "./session-groups.ts";

const NOTHING = { messages: 0, bytes: 0 };
/** The log is trimmed once this much can be removed, so that a trim is no write for each message. */
const TRIM_BYTES = 1024 * 1024;
/** How often sessions without news move on, full sessions are cut, and the log is trimmed. */
const SWEEP_INTERVAL_MS = 1_000;

export interface SessionBoundsOptions {
  log: MqttLog;
  maxOfflineMessages: number;
  maxOfflineBytes: number;
  /** The largest size and age of all publications that sessions have behind them. Infinity: no limit. */
  maxOfflineLogBytes: number;
  maxOfflineHours: number;
  /** Milliseconds since 1970. */
  now: () => number;
  logger: Logger;
}

/** A session, or a group of shared subscriptions. */
export interface BoundedCursor {
  readonly key: string;
  readonly cursor: LogCursor & {
    /** No client of it is connected to this node. */
    readonly isAway: boolean;
    /** It does not need publications up to and including this position. */
    readonly floor: number;
    /** How many publications were sent and are not acknowledged. */
    readonly open: number;
    /** The positions of what may have to be sent again. */
    unacknowledged(): Iterable<number>;
    /** Publications up to the position are not in the log any more. @returns how many are lost */
    giveUp(position: number): number;
  };
  /** Other nodes have the client, and its newest place. */
  readonly isElsewhere: boolean;
  /** Whether it has been logged that publications are lost. */
  isDropping: boolean;
}

interface Sessions {
  readonly groups: SessionGroups;
  all(): Iterable<BoundedCursor>;
  /** Everything up to this position has been offered to live sessions. */
  edge(): number;
  /** The session has moved. */
  onMoved(session: BoundedCursor): void;
}

/** Bounds what sessions have behind them, tells what they lose by that, and removes from the log what nobody needs. */
export class SessionBounds {
  readonly #options: SessionBoundsOptions;
  readonly #sessions: Sessions;
  readonly #log: LogBounds;
  #timer: NodeJS.Timeout | undefined;
  #isGivingUp = false;
  /** Publications that sessions have lost, because they had too many behind them, or because the store lost some. */
  dropped = 0;

  constructor(options: SessionBoundsOptions, sessions: Sessions) {
    const { log, maxOfflineLogBytes: maxBytes, maxOfflineHours, now, logger } = options;
    const { groups } = sessions;
    this.#options = options;
    this.#sessions = sessions;
    this.#log = new LogBounds({
      ...{ log: log.publications, maxBytes, maxAgeMs: maxOfflineHours * 3_600_000, now, logger },
      isFirstNode: () => log.rows.isFirstNode,
      lowest: () => groups.lowest(),
      match: (publication) => groups.match(publication),
      open: () => new Set([...sessions.all()].flatMap(({ cursor }) => [...cursor.unacknowledged()])),
    });
  }

  /** The size of all publications that sessions have behind them, approximate. */
  get bytes(): number {
    return this.#log.bytes;
  }

  /** The publications that all sessions together have behind them, approximate. */
  get totals(): { messages: number; bytes: number } {
    const { groups, all } = this.#sessions;
    let messages = 0;
    let bytes = 0;
    for (const { cursor, isElsewhere } of all()) {
      if (isElsewhere) continue;
      const behind = groups.groupOf(cursor)?.behind(cursor);
      messages += cursor.open + (behind?.messages ?? 0);
      bytes += behind?.bytes ?? 0;
    }
    return { messages, bytes };
  }

  /** The log has these publications next. @param stored when they were stored. Default: now */
  add(publications: readonly LoggedPublication[], stored?: PublicationPage["stored"]): void {
    this.#log.add(publications, stored);
  }

  /** Publications of this size, at or before the position, were removed by a compaction. */
  removed(upTo: number, bytes: number): void {
    this.#log.removed(upTo, bytes);
  }

  /** The store has lost the publications. Counts those that the clients of sessions may not have. */
  lose(publications: readonly LoggedPublication[]): void {
    const { log, logger } = this.#options;
    const { groups, all } = this.#sessions;
    const bySession = positionsBySession(publications, (publication) => groups.match(publication));
    for (const { key, cursor, isElsewhere } of all()) {
      const open = new Set(cursor.unacknowledged());
      const isLost = (position: number) => position > cursor.sent || open.has(position);
      const lost = bySession.get(cursor)?.filter(isLost).length ?? 0;
      // One node counts for a session without a connection.
      if (lost === 0 || isElsewhere || (cursor.isAway && !log.rows.isFirstNode)) continue;
      this.dropped += lost;
      logger.error({ ...sessionName(key), lost }, "messages of a session are lost, because the store has lost them");
    }
  }

  start(): void {
    this.#sweep();
    this.#timer = setInterval(() => this.#sweep(), SWEEP_INTERVAL_MS).unref();
  }

  /** Forgets the log, which is loaded again. */
  clear(): void {
    clearInterval(this.#timer);
    this.#log.clear();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#log.stop();
  }

  #sweep(): void {
    const { groups, all, edge } = this.#sessions;
    const { publications, rows } = this.#options.log;
    let floor = edge();
    let connected = floor;
    for (const session of all()) {
      if (session.isElsewhere) continue;
      const { cursor } = session;
      const group = groups.groupOf(cursor);
      if (cursor.isAway && (group === undefined || group.hasNothingFor(cursor))) {
        cursor.skipTo(edge());
        group?.park(cursor);
      } else this.cut(session);
      floor = Math.min(floor, cursor.floor);
      if (rows.writerOf(session.key) === "this") connected = Math.min(connected, cursor.floor);
    }
    if (publications.bytes >= Math.min(TRIM_BYTES, this.#log.softBytes) || this.#log.excess() > 0)
      publications.trim(floor, connected);
    this.#log.trim(publications.floor);
    const excess = this.#log.excess();
    if (excess > 0) void this.#giveUp(excess);
    else this.#log.compact();
  }

  /** Removes the oldest publications, although sessions have them behind them. */
  async #giveUp(upTo: number): Promise<void> {
    if (this.#isGivingUp) return;
    this.#isGivingUp = true;
    const { log, logger } = this.#options;
    const { groups, all } = this.#sessions;
    try {
      const lost = await publicationsUpTo(upTo, log.publications, (publication) => groups.match(publication));
      for (const session of all()) {
        const { cursor, isElsewhere } = session;
        if (isElsewhere || cursor.floor >= upTo) continue;
        const group = groups.groupOf(cursor);
        const unsent = cursor.isLive || group === undefined ? NOTHING : above(cursor.sent, lost.get(group));
        group?.lose(cursor, upTo, unsent);
        cursor.skipTo(upTo);
        this.drop(session, unsent.messages + cursor.giveUp(upTo), "the log of messages is too large or too old");
      }
      log.publications.trim(upTo);
      this.#log.trim(upTo);
    } catch (error) {
      logger.warn({ why: messageOf(error) }, "old messages of MQTT sessions cannot be removed, retrying");
    }
    this.#isGivingUp = false;
  }

  /** Moves a session that has too much behind it forward. */
  cut(session: BoundedCursor): void {
    const { cursor } = session;
    const dropped = this.#sessions.groups.groupOf(cursor)?.cut(cursor) ?? 0;
    if (dropped > 0) this.drop(session, dropped, "session queue full");
    else if (cursor.isLive) session.isDropping = false;
  }

  /** The session has lost publications. */
  drop(session: BoundedCursor, dropped: number, reason: string): void {
    if (dropped === 0) return;
    const { maxOfflineMessages: maxMessages, maxOfflineBytes: maxBytes, logger } = this.#options;
    const { maxOfflineLogBytes: maxLogBytes, maxOfflineHours: maxHours } = this.#options;
    const { rows } = this.#options.log;
    this.#sessions.onMoved(session);
    // Each node moves a session without a connection forward, and one node counts and tells.
    if (rows.writerOf(session.key) === "nobody" && !rows.isFirstNode) return;
    this.dropped += dropped;
    if (session.isDropping) return;
    session.isDropping = true;
    const fields = { ...sessionName(session.key), dropped, maxMessages, maxBytes, maxLogBytes, maxHours };
    logger.warn(fields, `${reason}: oldest messages dropped`);
  }
}

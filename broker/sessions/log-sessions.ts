import type { LoggedPublication, LostPublications, PublicationPage } from "../../platform/publication-log.ts";
import { sessionName } from "../access/session-names.ts";
import { type BoundedCursor, SessionBounds } from "./session-bounds.ts";
import type { CursorRecord } from "./session-delivery.ts";
import { type LogSession, loadRecords } from "./session-record.ts";
import { MAY_HAVE_MISSED, SessionRegistry, type SessionRegistryOptions } from "./session-registry.ts";
import { recordUpTo } from "./session-rollback.ts";
import { LogShares } from "./shares/log-shares.ts";

export interface LogSessionsOptions extends SessionRegistryOptions {
  maxShareGroups: number;
  maxShareGroupsPerUser: number;
}

/** The persistent sessions above the log: loads them from the journal's store, and offers them each new publication. */
export class LogSessions extends SessionRegistry {
  readonly #options: LogSessionsOptions;
  readonly bounds: SessionBounds;
  readonly shares: LogShares;
  readonly #ends: (() => void)[] = [];
  /** Sessions whose rows are being removed. */
  #removing = 0;

  constructor(options: LogSessionsOptions) {
    super(options);
    this.#options = options;
    const { groups } = this;
    this.bounds = new SessionBounds(options, {
      ...{ groups, all: () => this.#cursors(), edge: () => this.edge },
      onMoved: ({ key }) => {
        const session = this.table.get(key);
        if (session !== undefined) this.saves.note(session);
      },
    });
    this.shares = new LogShares(options, {
      ...{ groups, edge: () => this.edge },
      permissionsOf: (key) => {
        const session = this.table.get(key);
        return session && options.permissionsOf(session.owner.permissions);
      },
      isSubscribed: (key, filter) => this.table.get(key)?.cursor.filters.has(filter) ?? false,
      beginStoring: () => this.#beginStoring(),
      onEnded: () => this.#mayEndStoring(),
      onDropped: (group, count) => this.bounds.drop(group, count, "shared subscription full"),
    });
  }

  *#cursors(): Generator<BoundedCursor> {
    yield* this.table.values();
    yield* this.shares.cursors();
  }

  /** Whether nobody needs stored publications. */
  get #isEmpty(): boolean {
    return this.table.size + this.shares.size === 0;
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
    for (const { key, cursor, isElsewhere } of this.table.values())
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
    this.edge = log.publications.head;
    let lowest = this.edge;
    for (const [key, record] of records) {
      const newer = log.rows.isUnchanged(key) ? known.get(key) : undefined;
      const session = this.add(key, { ...record, ...newer });
      session.isElsewhere = log.rows.writerOf(key) === "other";
      if (session.isElsewhere) continue;
      if (newer !== undefined) {
        this.saves.note(session);
        this.saves.save(session);
      } else if (!log.publications.isKnown(record.epoch)) {
        missed.add(session);
        session.toldUntil = this.edge;
        if (log.rows.writerOf(key) === "this") this.saves.note(session);
      }
      this.place(session, 0);
      lowest = Math.min(lowest, session.cursor.sent);
    }
    lowest = Math.min(lowest, await this.shares.load());
    // One pass for all sessions, to know which of them have something behind them. Other nodes may append meanwhile.
    for (let after = lowest; !this.#isEmpty && after < log.publications.head; ) {
      const { publications, next, missing, stored: times } = await log.publications.scan(after);
      this.bounds.add(publications, times);
      if (missing !== undefined) for (const session of this.#missedBy(missing)) missed.add(session);
      for (const publication of publications)
        for (const group of this.groups.match(publication)) group.note(publication);
      after = next;
    }
    this.edge = log.publications.head;
    log.publications.storeFor?.(!this.#isEmpty);
    this.#ends.push(
      log.publications.follow((publications, head) => this.#follow(publications, head)),
      log.publications.onCompacted((upTo, bytes) => this.bounds.removed(upTo, bytes)),
      log.rows.beforeWrite(() => this.saves.saveSome()),
    );
    this.bounds.start();
    for (const { key } of missed) this.#options.logger.warn(sessionName(key), MAY_HAVE_MISSED);
    return { unreadable, missed: [...missed].map(({ key }) => key) };
  }

  *#missedBy({ before }: NonNullable<PublicationPage["missing"]>): Generator<LogSession> {
    for (const session of this.table.values()) {
      if (session.cursor.sent >= before - 1 || this.groups.groupOf(session.cursor) === undefined) continue;
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

  /** Resolves when all changes are durable. @throws {StoreUnavailableError} */
  async flush(): Promise<void> {
    this.saves.saveAll();
    this.shares.saveAll();
    await this.#options.log.rows.flush();
  }

  /** Resolves when the session's changes are durable. @throws {StoreUnavailableError} */
  async store(key: string): Promise<void> {
    this.save(key);
    await this.#options.log.rows.flush();
  }

  #follow(publications: readonly LoggedPublication[], head: number): void {
    for (const publication of publications) {
      for (const group of this.groups.match(publication)) {
        const { qos } = group;
        if (qos !== 0) for (const cursor of group.members) cursor.offer(publication, qos);
        group.note(publication);
      }
      this.edge = publication.position;
    }
    this.edge = head;
    if (!this.#isEmpty) this.bounds.add(publications);
  }
}

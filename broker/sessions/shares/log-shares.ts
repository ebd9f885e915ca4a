import type { Logger } from "pino";
import { messageOf } from "../../../platform/errors.ts";
import type { MqttLog } from "../../../platform/publication-log.ts";
import type { PermissionSet } from "../../access/permission-sets.ts";
import { sessionName } from "../../access/session-names.ts";
import type { BoundedCursor } from "../session-bounds.ts";
import type { SessionGroups } from "../session-groups.ts";
import { ClaimLedgers } from "./claim-ledgers.ts";
import { RowLedgers } from "./row-ledgers.ts";
import type { ShareGroup } from "./share-group.ts";
import { ShareGroups } from "./share-groups.ts";
import type { ShareLedgers } from "./share-ledger.ts";
import { shareKey } from "./share-name.ts";

interface LogSharesOptions {
  log: MqttLog;
  maxShareGroups: number;
  maxShareGroupsPerUser: number;
  maxOfflineMessages: number;
  wantsReceipt(topic: string): boolean;
  now: () => number;
  logger: Logger;
}

interface Sessions {
  /** Counts what each group has behind it. */
  readonly groups: SessionGroups;
  edge(): number;
  /** The permissions of a persistent session; undefined if there is none. */
  permissionsOf(session: string): PermissionSet | undefined;
  isSubscribed(session: string, filter: string): boolean;
  /** Publications are stored from now on. @returns whether they were not stored before */
  beginStoring(): boolean;
  /** A group has ended. */
  onEnded(): void;
  onDropped(group: BoundedCursor, count: number): void;
}

/** The groups of shared subscriptions over the log, as the sessions' bounds and counts see them. */
export class LogShares {
  readonly #sessions: Sessions;
  readonly #ledgers: ShareLedgers;
  readonly #cursors = new Map<ShareGroup, BoundedCursor>();
  readonly groups: ShareGroups;

  constructor(options: LogSharesOptions, sessions: Sessions) {
    const { log, logger, maxOfflineMessages: maxWaiting, wantsReceipt, now } = options;
    const { edge } = sessions;
    this.#sessions = sessions;
    this.#ledgers =
      log.shares === undefined
        ? new RowLedgers({ log, edge, logger })
        : new ClaimLedgers({ store: log.shares, isFirstNode: () => log.rows.isFirstNode, logger });
    this.groups = new ShareGroups({
      ...{ log: log.publications, edge, ledgers: this.#ledgers, wantsReceipt, now, maxWaiting },
      ...{ maxGroups: options.maxShareGroups, maxGroupsPerUser: options.maxShareGroupsPerUser },
      begin: () => sessions.beginStoring(),
      mayReceive: (session, { topic, payload }) => sessions.permissionsOf(session)?.mayReceive(topic, payload) ?? false,
      onAdded: (group) => this.#added(group),
      onRemoved: (group) => this.#removed(group),
      onBehind: (group) => {
        const counted = sessions.groups.groupOf(group);
        // From here on, what is behind the group is counted exactly.
        if (counted?.hasNothingFor(group) === true) counted.park(group);
      },
      onDropped: (group, count) => {
        const cursor = this.#cursors.get(group);
        if (cursor !== undefined) sessions.onDropped(cursor, count);
      },
      onFailed: (key, error) => {
        const fields = { ...sessionName(key), why: messageOf(error) };
        logger.warn(fields, "messages of a shared subscription are delayed, retrying");
      },
    });
  }

  get size(): number {
    return this.groups.size;
  }

  cursors(): Iterable<BoundedCursor> {
    return this.#cursors.values();
  }

  /** What all groups have behind them, and what members have not acknowledged, approximate. */
  get backlog(): number {
    let backlog = 0;
    for (const group of this.#cursors.keys())
      backlog += group.open + (this.#sessions.groups.groupOf(group)?.behind(group).messages ?? 0);
    return backlog;
  }

  /** @returns the lowest place of a group in the log */
  async load(): Promise<number> {
    await this.groups.load((session, filter) => this.#sessions.isSubscribed(session, filter));
    let lowest = Number.POSITIVE_INFINITY;
    for (const { sent } of this.#cursors.keys()) lowest = Math.min(lowest, sent);
    return lowest;
  }

  saveAll(): void {
    this.#ledgers.saveAll();
  }

  stop(): void {
    this.#ledgers.stop();
  }

  #added(group: ShareGroup): void {
    const { filter } = group.ledger.name;
    const key = shareKey(group.ledger.name);
    this.#cursors.set(group, new BoundedGroup(key, group));
    const filters = new Map([[filter, { qos: 2 as const }]]);
    const mayRead = (topic: string) => this.#mayRead(group, topic);
    this.#sessions.groups.place(group, { filters, permissions: key, mayRead }, group.sent);
  }

  #mayRead({ ledger }: ShareGroup, topic: string): boolean {
    for (const [member, { isPersistent }] of ledger.members)
      if (!isPersistent || this.#sessions.permissionsOf(member)?.mayRead(topic) === true) return true;
    return false;
  }

  #removed(group: ShareGroup): void {
    this.#cursors.delete(group);
    this.#sessions.groups.remove(group);
    this.#sessions.onEnded();
  }
}

/** A group, as the bounds of sessions see it. */
class BoundedGroup implements BoundedCursor {
  readonly key: string;
  readonly cursor: ShareGroup;
  isDropping = false;

  constructor(key: string, cursor: ShareGroup) {
    this.key = key;
    this.cursor = cursor;
  }

  get isElsewhere(): boolean {
    return this.cursor.ledger.isElsewhere;
  }
}

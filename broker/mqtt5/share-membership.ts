import { type SharedFilter, sharedFilterOf } from "../../contract/shares.ts";
import type { LoggedPublication } from "../../platform/publication-log.ts";
import type { FilterOptions } from "../access/filter-options.ts";
import type { ShareClient, ShareConnection } from "../sessions/shares/share-client.ts";
import type { ShareGroups } from "../sessions/shares/share-groups.ts";
import { subscriptionsOf } from "../sessions/shares/share-subscriptions.ts";

interface Member {
  readonly key: string;
  readonly identity: string;
  readonly isPersistent: boolean;
}

/** A connection as a member of groups of shared subscriptions. */
export class ShareMembership {
  readonly #groups: ShareGroups;
  readonly #member: Member;
  readonly #client: ShareClient;
  readonly #filters = new Set<string>();

  constructor(groups: ShareGroups, member: Member, connection: ShareConnection) {
    this.#groups = groups;
    this.#member = member;
    this.#client = groups.connect(member.key, member.isPersistent, connection);
  }

  /**
   * The session is a member of its groups again, and publications follow. If the store fails, the connection ends.
   * @param filters of the session @param release sends PUBREL
   */
  start(filters: ReadonlyMap<string, FilterOptions>, release: (messageId: number) => void): void {
    const subscriptions = subscriptionsOf(filters);
    if (subscriptions.length > 0) void this.#groups.resume(this.#client, this.#member.identity, subscriptions, release);
  }

  /** The session has the filter. */
  restore(filter: string): void {
    this.#filters.add(filter);
  }

  /** Resolves when the membership is durable. @throws {StoreUnavailableError} */
  subscribe(filter: string, shared: SharedFilter, options: FilterOptions): Promise<void> {
    this.#filters.add(filter);
    return this.#groups.subscribe(this.#client, this.#member.identity, shared, options);
  }

  /** The store removes the filter of a session from its group. @returns whether the client had the filter */
  unsubscribe(filter: string): boolean {
    const shared = sharedFilterOf(filter);
    const { key, identity, isPersistent } = this.#member;
    if (shared === undefined || !this.#filters.delete(filter)) return false;
    if (!isPersistent) this.#groups.unsubscribe(key, identity, shared);
    return true;
  }

  /** As `ShareGroups.acknowledge`. */
  acknowledge(messageId: number): { publication: LoggedPublication | undefined } | undefined {
    return this.#groups.acknowledge(this.#client, messageId);
  }

  /** As `ShareGroups.receive`. */
  receive(messageId: number): Promise<void> | undefined {
    return this.#groups.receive(this.#client, messageId);
  }

  /** The connection may have room again. */
  wake(): void {
    this.#client.wake();
  }

  /** The connection has ended. */
  end(): void {
    this.#groups.disconnect(this.#client);
  }
}

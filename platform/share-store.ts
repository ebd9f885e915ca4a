/** A client that joins a group of shared subscriptions. */
export interface JoiningMember {
  /** Its session key. */
  readonly key: string;
  readonly qos: 0 | 1 | 2;
  readonly isPersistent: boolean;
  /** The number of its connection among those of this node. */
  readonly connection: number;
}

/** A publication that a member has. */
export interface HeldPublication {
  readonly position: number;
  readonly messageId: number;
  readonly member: string;
}

/** A publication that a member gets. */
export interface GivenPublication extends HeldPublication {
  readonly qos: 0 | 1 | 2;
}

/** Publications, and the connections of the members that get them. */
export interface Given {
  readonly publications: readonly GivenPublication[];
  readonly connections: ReadonlyMap<string, number>;
}

/** A step of a group in the log. */
export interface SharedTurn extends Given {
  /** The place of the group must be from `base` up to `from`: between them, nothing is for the group. */
  readonly base: number;
  readonly from: number;
  readonly upTo: number;
  /** Publications that wait for a member. */
  readonly setAside: readonly number[];
}

/** Why nothing was given: members that have left, or have another connection. */
export interface Gone {
  readonly gone: readonly string[];
}

/** A group as it is stored. */
export interface SharedGroup {
  readonly key: string;
  /** As it was given to `join`. */
  readonly name: string;
  readonly sent: number;
  readonly waiting: readonly number[];
  /** What members have and may have to get again. */
  readonly held: readonly number[];
  /** How many publications members have not acknowledged. */
  readonly open: number;
  readonly members: readonly (Pick<JoiningMember, "key" | "qos" | "isPersistent"> & {
    /** Whether the member is connected to any node. */
    readonly isConnected: boolean;
  })[];
}

/**
 * Groups of shared subscriptions in a store that several nodes use. Each node gives publications to the members that are
 * connected to it. An operation names what the node has seen of the group, and is refused if that has changed. What does
 * not return a promise is done in the order of the calls, and repeated while the store is unavailable.
 */
export interface ShareStore {
  /**
   * The member joins the group, or has connected again: what an earlier connection had at QoS 1 waits for another member.
   * A group that does not exist begins at the newest position. @throws {StoreUnavailableError}
   */
  join(
    group: { readonly key: string; readonly name: string },
    member: JoiningMember,
  ): Promise<{
    readonly sent: number;
    /** What the member still has. */
    readonly open: readonly { position: number; qos: 1 | 2; isReleased: boolean; messageId: number }[];
  }>;
  /** The member has unsubscribed, or its session has ended. @param connection undefined: whatever its connection is */
  leave(group: string, member: string, connection: number | undefined): void;
  /** Gives the next publications of the log. @throws {StoreUnavailableError} it is unknown whether they were given */
  take(group: string, turn: SharedTurn): Promise<"taken" | { readonly sent: number } | Gone>;
  /** As {@link take}, for publications that wait. @returns for each one whether it was given */
  takeWaiting(group: string, given: Given): Promise<readonly boolean[] | Gone>;
  /** Members have acknowledged the publications. */
  acknowledge(group: string, publications: readonly HeldPublication[]): void;
  /** Members will not acknowledge the publications, which wait for others, unless PUBREC has arrived. */
  giveBack(group: string, publications: readonly HeldPublication[]): void;
  /** PUBREC has arrived. Resolves when that is stored. @throws {StoreUnavailableError} */
  release(group: string, publication: HeldPublication): Promise<void>;
  /** The member's connection has ended, and its session has not. */
  disconnected(group: string, member: string, connection: number): void;
  /**
   * Publications up to the position are not for the group. @param unmoved if this is given, publications up to the
   * position are no longer kept, and they are passed over if the group still has this place
   */
  skipTo(group: string, position: number, unmoved?: number): void;
  /** What waits from `first` to `last` is given up. */
  drop(group: string, first: number, last: number): void;
  /** @returns true for the first call of all nodes with this key @throws {StoreUnavailableError} */
  claimOnce(key: string): Promise<boolean>;
  /** Reads all groups. Members of ended nodes lose what they had, before. @throws {StoreUnavailableError} */
  poll(): Promise<readonly SharedGroup[]>;
}

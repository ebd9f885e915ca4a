import type { ShareName } from "./share-name.ts";

/** A publication that was given to a member of the group, until the member has acknowledged it. */
export interface Assignment {
  readonly position: number;
  /** The session key of the member. */
  readonly member: string;
  /** At QoS 0 nothing is acknowledged: the group only moves on. */
  readonly qos: 0 | 1 | 2;
  /** 0 at QoS 0. */
  readonly messageId: number;
  /**
   * - `sent`: the member has not answered, or the publication is about to be sent.
   * - `releasing`: PUBREC has arrived, and is not durable yet.
   * - `released`: PUBREC is durable. The member gets PUBREL, and not the publication again.
   */
  state: "sent" | "releasing" | "released";
}

/** A client that subscribes to the group. */
export interface Membership {
  readonly qos: 0 | 1 | 2;
  /** False: the membership ends with the connection, as the client's session does. */
  readonly isPersistent: boolean;
}

/** Publications of the log that are given to members in one step. */
export interface Turn {
  /** The group's place in the log before this step. */
  readonly from: number;
  /** The group's place in the log after this step. Publications up to there are assigned, or are not for the group. */
  readonly upTo: number;
  readonly assignments: readonly Assignment[];
  /** Publications that are set aside, because no member with room may receive them. */
  readonly setAside: readonly number[];
}

/**
 * What is known of one group in the store: its place in the log, its members, and which member has which publication.
 * Everything that must be durable before a publication is sent, or before a client is answered, resolves when it is.
 */
export interface ShareLedger {
  readonly name: ShareName;
  /** Every publication up to this position was given to a member, waits, or is not for the group. */
  readonly sent: number;
  /** As {@link sent}, and what is open up to this position is {@link waiting} or {@link held}: other nodes may have more. */
  readonly settled: number;
  /** Publications that no member has, in order. */
  readonly waiting: readonly number[];
  /** Called when publications begin to wait, with the lowest position, and when waiting ones could not be taken. */
  onWaiting: (lowest: number) => void;
  /** The positions of what members have and may have to get again. */
  held(): Iterable<number>;
  /** How many publications members have not acknowledged. */
  readonly openCount: number;
  readonly members: ReadonlyMap<string, Membership>;
  /** Whether another node takes care of the group's limits. */
  readonly isElsewhere: boolean;
  /** Whether it is the turn of a member at this node to get the publication at this position. */
  prefers(position: number): boolean;
  /** The member subscribes, or has connected again. @returns what it still has @throws {StoreUnavailableError} */
  join(member: string, membership: Membership, connection: number): Promise<readonly Assignment[]>;
  /**
   * The member has unsubscribed, or its session has ended. What it had at QoS 1 waits for another member, and nobody gets
   * what it had at QoS 2 [MQTT-4.8.2-5]. @returns the new number of members
   */
  leave(member: string): number;
  /** The member's connection has ended, and its session has not. */
  disconnected(member: string): void;
  /**
   * Assigns the next publications of the log. A publication of QoS 2 is never given to two members [MQTT-4.8.2-4], so the
   * assignment is durable when this resolves. @returns false when the group has moved: nothing is assigned
   * @throws {StoreUnavailableError}
   */
  take(turn: Turn): Promise<boolean>;
  /** As {@link take}, for publications that wait. @returns the accepted assignments */
  takeWaiting(assignments: readonly Assignment[]): Promise<readonly Assignment[]>;
  /** The member has acknowledged the publication. */
  close(assignment: Assignment): void;
  /** PUBREC has arrived. Resolves when that is durable. @throws {StoreUnavailableError} */
  release(assignment: Assignment): Promise<void>;
  /** The member will not acknowledge these: they wait for another one. */
  giveBack(assignments: readonly Assignment[]): void;
  /** Waiting publications from `first` up to `last` are no longer in the log. @returns how many */
  drop(first: number, last: number): number;
  /** Passes over publications that are not for the group. Need not be durable. */
  skipTo(position: number): void;
  /** Passes over publications that are no longer kept. */
  giveUp(position: number): void;
}

/** Where the ledgers of groups are kept. */
export interface ShareLedgers {
  /** The ledgers in the store. */
  load(): Promise<ShareLedger[]>;
  /** A new group, which gets publications above the position. It is stored when its first member joins. */
  create(name: ShareName, sent: number): ShareLedger;
  /** Removes a group without members. */
  remove(ledger: ShareLedger): void;
  /** Puts all changes into the next write. */
  saveAll(): void;
  stop(): void;
  /** Tells from now on what other nodes do with groups. Undefined: there are no other nodes. */
  follow?(listener: ShareLedgersListener): void;
  /** Whether this node is the first one to ask for the key. Undefined: there are no other nodes. */
  claimOnce?(key: string): Promise<boolean>;
}

export interface ShareLedgersListener {
  /** Another node has created the group. */
  onFound(ledger: ShareLedger): void;
  /** The group has ended. */
  onEnded(ledger: ShareLedger): void;
  /** There may be publications that wait. */
  onMoved(ledger: ShareLedger): void;
  /** The members have left the group, or have connected to another node: their connections here must end. */
  onGone(members: readonly string[]): void;
}

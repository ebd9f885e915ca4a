import type { LoggedPublication } from "../../../platform/publication-log.ts";
import type { FilterOptions } from "../../access/filter-options.ts";
import { FIRST_SHARE_ID, LAST_SHARE_ID } from "../../aedes/message-ids.ts";
import type { Assignment, ShareLedger } from "./share-ledger.ts";

/** A delivery of a group's publication to one of its members. */
export interface ShareDelivery {
  readonly publication: Omit<LoggedPublication, "position">;
  readonly qos: 0 | 1 | 2;
  /** 0 at QoS 0. */
  readonly messageId: number;
  readonly dup: boolean;
  /** The options of the member's subscription. */
  readonly options: FilterOptions;
}

/** How a connection, of any version of the protocol, gets the publications of its groups. */
export interface ShareConnection {
  /** The most publications that the client may have without an acknowledgement. */
  readonly window: number;
  /** Whether the connection has enough unsent bytes. When it has fewer, `ShareClient.wake` is called. */
  readonly isFull: boolean;
  /** Whether the client may receive the publication now, by the permissions of this connection. */
  mayReceive(publication: LoggedPublication): boolean;
  /** Whether no other delivery to the client has this message id. */
  isFree(messageId: number): boolean;
  send(delivery: ShareDelivery): void;
  /** Ends the connection, so that the client connects again. */
  close(): void;
}

/** A group, as its members use it. */
export interface MemberGroup {
  readonly ledger: ShareLedger;
  /** There may be a publication and a member for it. */
  wake(): void;
  /** The client's connection has ended, with these flights. */
  lost(client: ShareClient, flights: readonly Assignment[]): void;
  /** Sends again what the member has not acknowledged. @throws {StoreUnavailableError} */
  resend(client: ShareClient, assignments: readonly Assignment[], options: FilterOptions): Promise<void>;
}

/** A publication that was sent to the client, until the client has acknowledged it. */
export interface ShareFlight {
  readonly group: MemberGroup;
  readonly assignment: Assignment;
  /** Kept for a receipt. */
  readonly publication: LoggedPublication | undefined;
}

/** A connected client that is a member of groups: what it has and has not acknowledged, over all of its groups. */
export class ShareClient {
  /** The client's session key. */
  readonly key: string;
  readonly isPersistent: boolean;
  /** The number of the connection among those of this node. */
  readonly number: number;
  readonly connection: ShareConnection;
  readonly groups = new Set<MemberGroup>();
  /** What an earlier connection did not acknowledge, until it is sent again. */
  unsent: ShareFlight[] = [];
  readonly #flights = new Map<number, ShareFlight>();
  /** Message ids of assignments that are not durable yet. */
  readonly #reserved = new Set<number>();
  #lastId = LAST_SHARE_ID;
  isClosed = false;

  constructor(key: string, isPersistent: boolean, connection: ShareConnection, number: number) {
    this.key = key;
    this.isPersistent = isPersistent;
    this.connection = connection;
    this.number = number;
  }

  /** How many more publications the client can take now. */
  get room(): number {
    if (this.isClosed || this.connection.isFull) return 0;
    return Math.max(0, this.connection.window - this.#flights.size - this.#reserved.size);
  }

  flight(messageId: number): ShareFlight | undefined {
    return this.#flights.get(messageId);
  }

  flights(): Iterable<ShareFlight> {
    return this.#flights.values();
  }

  /** A free message id, which is taken until {@link begin} or {@link cancel}. Call this only if there is room. */
  reserve(): number {
    do this.#lastId = this.#lastId >= LAST_SHARE_ID ? FIRST_SHARE_ID : this.#lastId + 1;
    while (
      this.#flights.has(this.#lastId) ||
      this.#reserved.has(this.#lastId) ||
      !this.connection.isFree(this.#lastId)
    );
    this.#reserved.add(this.#lastId);
    return this.#lastId;
  }

  begin(flight: ShareFlight): void {
    const { messageId } = flight.assignment;
    this.#reserved.delete(messageId);
    this.#flights.set(messageId, flight);
  }

  cancel(messageId: number): void {
    this.#reserved.delete(messageId);
  }

  end(messageId: number): void {
    this.#flights.delete(messageId);
  }

  /** The connection may have room again. */
  wake(): void {
    for (const group of this.groups) group.wake();
  }
}

import type { SharedFilter } from "../../../contract/shares.ts";
import type { LoggedPublication } from "../../../platform/publication-log.ts";
import type { FilterOptions } from "../../access/filter-options.ts";
import type { Session } from "../storage.ts";
import { ClientConnection, type ClientConnectionOptions, isSharingClient } from "./client-connection.ts";
import type { ShareClient } from "./share-client.ts";
import type { ShareGroups } from "./share-groups.ts";
import type { Subscription } from "./share-subscriptions.ts";

interface ClientSharesOptions extends ClientConnectionOptions {
  groups: ShareGroups;
}

/** The clients of Aedes as members of groups. */
export class ClientShares {
  readonly #options: ClientSharesOptions;
  readonly #members = new WeakMap<object, ShareClient>();

  constructor(options: ClientSharesOptions) {
    this.#options = options;
  }

  /** Resolves when the membership is durable. @throws {StoreUnavailableError} */
  async subscribe(client: Session, identity: string, shared: SharedFilter, options: FilterOptions): Promise<void> {
    // SUBSCRIBE may come before `connect`, in one write with CONNECT.
    const member = this.#members.get(client) ?? this.#join(client);
    if (member !== undefined) await this.#options.groups.subscribe(member, identity, shared, options);
  }

  /**
   * The client of a persistent session has connected. @returns the message ids of the PUBRELs that the client must get
   * before {@link start} @throws {StoreUnavailableError}
   */
  async connect(client: Session, identity: string, subscriptions: readonly Subscription[]): Promise<number[]> {
    const member = this.#members.get(client) ?? this.#join(client);
    return member === undefined ? [] : await this.#options.groups.restore(member, identity, subscriptions);
  }

  #join(client: Session): ShareClient | undefined {
    if (!isSharingClient(client)) return undefined;
    const { groups } = this.#options;
    const member = groups.connect(client.id, client.clean !== true, new ClientConnection(client, this.#options));
    this.#members.set(client, member);
    client.conn.once("close", () => groups.disconnect(member));
    client.conn.on("drain", () => member.wake());
    if (client.closed === true) groups.disconnect(member);
    return member;
  }

  /** The client of a persistent session has its PUBRELs. */
  start(client: Session, identity: string, subscriptions: readonly Subscription[]): void {
    const member = this.#members.get(client);
    if (member !== undefined) void this.#options.groups.start(member, identity, subscriptions);
  }

  /** As `ShareGroups.receive`. */
  receive(client: Session, messageId: number): Promise<void> | undefined {
    const member = this.#members.get(client);
    return member && this.#options.groups.receive(member, messageId);
  }

  /** As `ShareGroups.acknowledge`. */
  acknowledge(client: Session, messageId: number): { publication: LoggedPublication | undefined } | undefined {
    const member = this.#members.get(client);
    return member && this.#options.groups.acknowledge(member, messageId);
  }
}

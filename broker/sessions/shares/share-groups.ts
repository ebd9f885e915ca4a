import { type SharedFilter, sharedFilterOf, sharedFilterText } from "../../../contract/shares.ts";
import { Counts } from "../../../platform/counts.ts";
import type { LoggedPublication } from "../../../platform/publication-log.ts";
import type { FilterOptions } from "../../access/filter-options.ts";
import { TopicIndex } from "../../aedes/topic-index.ts";
import { type MemberGroup, ShareClient, type ShareConnection } from "./share-client.ts";
import { ShareGroup, type ShareGroupOptions } from "./share-group.ts";
import type { Assignment, ShareLedger } from "./share-ledger.ts";
import { type ShareName, shareKey } from "./share-name.ts";

/** A shared subscription of a session. */
export interface Subscription {
  readonly shared: SharedFilter;
  readonly options: FilterOptions;
}

/** The shared subscriptions among the filters of a session. */
export function subscriptionsOf(filters: ReadonlyMap<string, FilterOptions>): Subscription[] {
  return [...filters].flatMap(([filter, options]) => {
    const shared = sharedFilterOf(filter);
    return shared === undefined ? [] : [{ shared, options }];
  });
}

/** Where the ledgers of groups are kept. */
export interface ShareLedgers {
  /** The ledgers in the store. */
  load(): Promise<ShareLedger[]>;
  /** A new group, which gets publications above the position. It is stored when its first member joins. */
  create(name: ShareName, sent: number): ShareLedger;
  /** Removes a group without members. */
  remove(ledger: ShareLedger): void;
}

export interface ShareGroupsOptions extends Omit<ShareGroupOptions, "onBehind" | "onDropped" | "onFailed"> {
  ledgers: ShareLedgers;
  maxGroups: number;
  maxGroupsPerUser: number;
  /** The group wants publications from now on. */
  onAdded(group: ShareGroup): void;
  onRemoved(group: ShareGroup): void;
  onBehind(group: ShareGroup): void;
  onDropped(group: ShareGroup, count: number): void;
  /** @param key of a group or a session */
  onFailed(key: string, error: unknown): void;
  /** Publications are stored from now on. @returns whether they were not stored before */
  begin(): boolean;
}

/** The groups of shared subscriptions, and their members at this node. */
export class ShareGroups {
  readonly #options: ShareGroupsOptions;
  readonly #groups = new Map<string, ShareGroup>();
  readonly #counts = new Counts();
  readonly #clients = new Map<string, ShareClient>();
  /** By filter, for publications that are not in the log. */
  readonly #index = new TopicIndex<ShareGroup>();

  constructor(options: ShareGroupsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#groups.size;
  }

  get members(): number {
    let members = 0;
    for (const { ledger } of this.#groups.values()) members += ledger.members.size;
    return members;
  }

  all(): Iterable<ShareGroup> {
    return this.#groups.values();
  }

  /** Forgets everything, and loads the groups. @param hasSession whether the session subscribes to the group's filter */
  async load(hasSession: (member: string, filter: string) => boolean): Promise<void> {
    for (const group of this.#groups.values()) this.#forget(group);
    this.#clients.clear();
    for (const ledger of await this.#options.ledgers.load()) {
      for (const member of [...ledger.members.keys()])
        if (!hasSession(member, sharedFilterText(ledger.name))) ledger.leave(member);
      const group = this.#add(ledger);
      if (ledger.members.size === 0) this.#end(group);
    }
  }

  /** Why the user may not have one more group; undefined if it may, or if the group exists. */
  problem(identity: string, shared: SharedFilter): string | undefined {
    const { maxGroups, maxGroupsPerUser } = this.#options;
    if (this.#groups.has(shareKey({ identity, ...shared }))) return undefined;
    if (this.#counts.of(identity) >= maxGroupsPerUser)
      return `its user has ${maxGroupsPerUser} groups of shared subscriptions (MAX_MQTT_SHARE_GROUPS_PER_USER)`;
    return this.#groups.size >= maxGroups
      ? `there are ${maxGroups} groups of shared subscriptions (MAX_MQTT_SHARE_GROUPS)`
      : undefined;
  }

  /**
   * The client has connected: see {@link start}. An earlier connection with the key is replaced.
   * @returns the client, and the message ids of the PUBRELs that it must get before {@link start}
   */
  connect(
    key: string,
    isPersistent: boolean,
    connection: ShareConnection,
  ): { client: ShareClient; released: number[] } {
    const earlier = this.#clients.get(key);
    if (earlier !== undefined) this.disconnect(earlier);
    const client = new ShareClient(key, isPersistent, connection);
    this.#clients.set(key, client);
    const released: number[] = [];
    if (!isPersistent) return { client, released };
    for (const group of this.#groups.values())
      for (const assignment of group.ledger.open) {
        if (assignment.member !== key) continue;
        client.begin({ group, assignment, publication: undefined });
        if (assignment.state === "released") released.push(assignment.messageId);
      }
    return { client, released };
  }

  /**
   * The PUBRELs have been sent: what was not acknowledged follows, and then new publications.
   * @param subscriptions the shared subscriptions of the client's session
   */
  async start(client: ShareClient, identity: string, subscriptions: readonly Subscription[]): Promise<void> {
    try {
      await this.#resend(client, subscriptions);
      // The groups exist, unless their rows were lost.
      for (const { shared, options } of subscriptions) await this.subscribe(client, identity, shared, options);
    } catch (error) {
      this.#options.onFailed(client.key, error);
      client.connection.close();
    }
  }

  async #resend(client: ShareClient, subscriptions: readonly Subscription[]): Promise<void> {
    const open = new Map<MemberGroup, Assignment[]>();
    for (const { group, assignment } of client.flights())
      if (assignment.state !== "released") open.set(group, [...(open.get(group) ?? []), assignment]);
    for (const [group, assignments] of open) {
      const filter = sharedFilterText(group.ledger.name);
      const subscription = subscriptions.find(({ shared }) => sharedFilterText(shared) === filter);
      await group.resend(client, assignments, subscription?.options ?? { qos: 2 });
    }
  }

  /** Resolves when the subscription is durable. Call {@link problem} first. @throws {StoreUnavailableError} */
  async subscribe(client: ShareClient, identity: string, shared: SharedFilter, options: FilterOptions): Promise<void> {
    const { qos } = options;
    const known = this.#groups.get(shareKey({ identity, ...shared }));
    const isFirst = known === undefined && this.#options.begin();
    const group = known ?? this.#add(this.#options.ledgers.create({ identity, ...shared }, this.#options.edge()));
    if (group.ledger.members.get(client.key)?.qos !== qos)
      await group.ledger.join(client.key, { qos, isPersistent: client.isPersistent });
    // Earlier writes were without publications.
    if (isFirst) group.skipTo(this.#options.edge());
    if (client.isClosed) {
      if (!client.isPersistent) this.#leave(group, client.key);
    } else if (group.ledger.members.has(client.key)) group.add(client, options);
  }

  /** The session has unsubscribed from the group. */
  unsubscribe(key: string, identity: string, shared: SharedFilter): void {
    const group = this.#groups.get(shareKey({ identity, ...shared }));
    if (group === undefined) return;
    const client = this.#clients.get(key);
    if (client !== undefined) group.remove(client);
    this.#leave(group, key);
  }

  /** The connection has ended. */
  disconnect(client: ShareClient): void {
    if (client.isClosed) return;
    client.isClosed = true;
    if (this.#clients.get(client.key) === client) this.#clients.delete(client.key);
    const lost = new Map<MemberGroup, Assignment[]>();
    for (const group of client.groups) lost.set(group, []);
    for (const { group, assignment } of client.flights()) lost.set(group, [...(lost.get(group) ?? []), assignment]);
    for (const [group, assignments] of lost) {
      group.lost(client, assignments);
      if (!client.isPersistent) this.#leave(group, client.key);
    }
  }

  /** The persistent session has ended. */
  endSession(key: string): void {
    for (const group of [...this.#groups.values()]) {
      const { ledger } = group;
      if (ledger.members.get(key)?.isPersistent !== true) continue;
      const open = [...ledger.open].filter(({ member }) => member === key);
      ledger.giveBack(open.filter(({ qos }) => qos === 1));
      // A publication of QoS 2 goes to no other client [MQTT-4.8.2-5].
      for (const assignment of open) if (assignment.qos === 2) ledger.close(assignment);
      this.#leave(group, key);
    }
  }

  /**
   * PUBACK or PUBCOMP has arrived, or a PUBREC with an error, after which no other member gets the publication
   * [MQTT-4.8.2-6].
   * @returns undefined if the message id is of no group; the publication if its topic wants a receipt
   */
  acknowledge(client: ShareClient, messageId: number): { publication: LoggedPublication | undefined } | undefined {
    const flight = client.flight(messageId);
    if (flight === undefined) return undefined;
    client.end(messageId);
    flight.group.ledger.close(flight.assignment);
    client.wake();
    return { publication: flight.publication };
  }

  /**
   * PUBREC has arrived.
   * @returns undefined if the message id is of no group; otherwise resolves when PUBREL may be sent
   * @throws {StoreUnavailableError}
   */
  receive(client: ShareClient, messageId: number): Promise<void> | undefined {
    const flight = client.flight(messageId);
    if (flight?.assignment.qos !== 2) return undefined;
    // The session of other clients ends with the connection: no run of the server will need the release.
    return client.isPersistent ? flight.group.ledger.release(flight.assignment) : Promise.resolve();
  }

  /** A publication that is not in the log goes to one member of each group that wants it. */
  sendUnlogged(publication: LoggedPublication): void {
    if (this.#groups.size === 0) return;
    for (const group of this.#index.match(publication.topic)) group.sendUnlogged(publication);
  }

  #add(ledger: ShareLedger): ShareGroup {
    const { onBehind, onDropped, onFailed, onAdded } = this.#options;
    const group: ShareGroup = new ShareGroup(ledger, {
      ...this.#options,
      onBehind: () => onBehind(group),
      onDropped: (count) => onDropped(group, count),
      onFailed: (error) => onFailed(shareKey(ledger.name), error),
    });
    this.#groups.set(shareKey(ledger.name), group);
    this.#counts.add(ledger.name.identity);
    this.#index.add(ledger.name.filter, group);
    onAdded(group);
    return group;
  }

  /** A group ends with its last member. */
  #leave(group: MemberGroup, key: string): void {
    if (group.ledger.leave(key) === 0) this.#end(group);
    else group.wake();
  }

  #end({ ledger }: MemberGroup): void {
    const group = this.#groups.get(shareKey(ledger.name));
    if (group?.ledger !== ledger) return;
    this.#forget(group);
    this.#options.ledgers.remove(ledger);
  }

  #forget(group: ShareGroup): void {
    group.end();
    this.#groups.delete(shareKey(group.ledger.name));
    this.#counts.subtract(group.ledger.name.identity);
    this.#index.remove(group.ledger.name.filter, group);
    this.#options.onRemoved(group);
  }
}

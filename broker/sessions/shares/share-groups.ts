import { type SharedFilter, sharedFilterText } from "../../../contract/shares.ts";
import { counted } from "../../../platform/counted.ts";
import { Counts } from "../../../platform/counts.ts";
import type { LoggedPublication } from "../../../platform/publication-log.ts";
import type { FilterOptions } from "../../access/filter-options.ts";
import { TopicIndex } from "../../aedes/topic-index.ts";
import { type MemberGroup, ShareClient, type ShareConnection } from "./share-client.ts";
import { ShareGroup, type ShareGroupOptions } from "./share-group.ts";
import type { Assignment, ShareLedger, ShareLedgers } from "./share-ledger.ts";
import { type ShareName, shareKey } from "./share-name.ts";
import type { Subscription } from "./share-subscriptions.ts";

/** Names a publication that is not in the log, at all nodes. */
export interface UnloggedId {
  /** The broker that got it. */
  readonly by: string;
  /** Its number at this broker. */
  readonly number: number;
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
  #connections = 0;
  /** By filter, for publications that are not in the log. */
  readonly #index = new TopicIndex<ShareGroup>();

  constructor(options: ShareGroupsOptions) {
    this.#options = options;
    options.ledgers.follow?.({
      onFound: (ledger) => void this.#add(ledger),
      onEnded: (ledger) => this.#ended(ledger),
      onMoved: ({ name }) => this.#groups.get(shareKey(name))?.wake(),
      onGone: (members) => {
        for (const member of members) this.#clients.get(member)?.connection.close();
      },
    });
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
    const { ledgers } = this.#options;
    for (const ledger of await ledgers.load()) {
      for (const member of ledgers.follow === undefined ? [...ledger.members.keys()] : [])
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
      return `its user has ${counted(maxGroupsPerUser, "group")} of shared subscriptions (MAX_MQTT_SHARE_GROUPS_PER_USER)`;
    return this.#groups.size >= maxGroups
      ? `there ${maxGroups === 1 ? "is" : "are"} ${counted(maxGroups, "group")} of shared subscriptions (MAX_MQTT_SHARE_GROUPS)`
      : undefined;
  }

  /** The client has connected. An earlier connection with the key is replaced. Call {@link restore} if it is persistent. */
  connect(key: string, isPersistent: boolean, connection: ShareConnection): ShareClient {
    const earlier = this.#clients.get(key);
    if (earlier !== undefined) this.disconnect(earlier);
    const client = new ShareClient(key, isPersistent, connection, ++this.#connections);
    this.#clients.set(key, client);
    return client;
  }

  /**
   * The client of a persistent session is a member of its groups again. Send the PUBRELs, and then call {@link start}.
   * @param subscriptions the shared subscriptions of the session
   * @returns the message ids of the PUBRELs @throws {StoreUnavailableError}
   */
  async restore(client: ShareClient, identity: string, subscriptions: readonly Subscription[]): Promise<number[]> {
    const released: number[] = [];
    for (const { shared, options } of subscriptions) {
      const [group, open] = await this.#join(client, { identity, ...shared }, options);
      if (client.isClosed) return [];
      for (const assignment of open) {
        // A SUBSCRIBE may have come first, and publications of this connection may be under way.
        if (client.flight(assignment.messageId) !== undefined) continue;
        const flight = { group, assignment, publication: undefined };
        client.begin(flight);
        if (assignment.state === "released") released.push(assignment.messageId);
        else client.unsent.push(flight);
      }
    }
    return released;
  }

  /** The PUBRELs have been sent: what was not acknowledged follows, and then new publications. */
  async start(client: ShareClient, identity: string, subscriptions: readonly Subscription[]): Promise<void> {
    try {
      await this.#resend(client, subscriptions);
    } catch (error) {
      this.#options.onFailed(client.key, error);
      client.connection.close();
    }
    for (const { shared, options } of subscriptions) this.#begin(client, { identity, ...shared }, options);
  }

  /** {@link restore} and {@link start}. If the store fails, the connection ends. @param release sends PUBREL */
  async resume(
    client: ShareClient,
    identity: string,
    subscriptions: readonly Subscription[],
    release: (messageId: number) => void,
  ): Promise<void> {
    try {
      for (const messageId of await this.restore(client, identity, subscriptions)) release(messageId);
      await this.start(client, identity, subscriptions);
    } catch (error) {
      this.#options.onFailed(client.key, error);
      client.connection.close();
    }
  }

  async #resend(client: ShareClient, subscriptions: readonly Subscription[]): Promise<void> {
    const open = new Map<MemberGroup, Assignment[]>();
    for (const { group, assignment } of client.unsent.splice(0))
      open.set(group, [...(open.get(group) ?? []), assignment]);
    for (const [group, assignments] of open) {
      const filter = sharedFilterText(group.ledger.name);
      const subscription = subscriptions.find(({ shared }) => sharedFilterText(shared) === filter);
      await group.resend(client, assignments, subscription?.options ?? { qos: 2 });
    }
  }

  /** Resolves when the subscription is durable. Call {@link problem} first. @throws {StoreUnavailableError} */
  async subscribe(client: ShareClient, identity: string, shared: SharedFilter, options: FilterOptions): Promise<void> {
    const name = { identity, ...shared };
    await this.#join(client, name, options);
    this.#begin(client, name, options);
  }

  /**
   * The client's connection may end at any time, and a newer one with the key may join meanwhile: {@link disconnect} ends
   * the membership of the first connection at once, before the ledger has answered.
   */
  async #join(
    client: ShareClient,
    name: ShareName,
    { qos }: FilterOptions,
  ): Promise<[group: ShareGroup, open: readonly Assignment[]]> {
    const known = this.#groups.get(shareKey(name));
    const isFirst = known === undefined && this.#options.begin();
    const group = known ?? this.#add(this.#options.ledgers.create(name, this.#options.edge()));
    client.groups.add(group);
    const joining = group.ledger.join(client.key, { qos, isPersistent: client.isPersistent }, client.number);
    // A SUBSCRIBE that was under way when the connection ended.
    if (client.isClosed) this.#left(group, client);
    const open = await joining;
    // Earlier writes were without publications.
    if (isFirst) group.ledger.skipTo(this.#options.edge());
    return [group, open];
  }

  /** From now on, the client gets publications. It may have unsubscribed meanwhile. */
  #begin(client: ShareClient, name: ShareName, options: FilterOptions): void {
    const group = this.#groups.get(shareKey(name));
    if (!client.isClosed && group?.ledger.members.has(client.key) === true) group.add(client, options);
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
      this.#left(group, client);
    }
  }

  #left(group: MemberGroup, { key, isPersistent }: ShareClient): void {
    if (isPersistent) group.ledger.disconnected(key);
    else this.#leave(group, key);
  }

  /** The persistent session has ended. @param subscriptions its shared subscriptions */
  endSession(key: string, identity: string, subscriptions: readonly Subscription[]): void {
    for (const { shared } of subscriptions) this.unsubscribe(key, identity, shared);
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

  /**
   * A publication that is not in the log goes to one member of each group that wants it.
   */
  sendUnlogged(publication: LoggedPublication, id: UnloggedId): void {
    if (this.#groups.size === 0) return;
    for (const group of this.#index.match(publication.topic)) {
      if (this.#options.ledgers.claimOnce === undefined) group.sendUnlogged(publication);
      else if (group.hasRoom) void this.#sendOnce(group, publication, id);
    }
  }

  async #sendOnce(group: ShareGroup, publication: LoggedPublication, { by, number }: UnloggedId): Promise<void> {
    await group.ownTurn(number);
    const key = `${by}:${number}:${shareKey(group.ledger.name)}`;
    // If the store does not answer, the publication is lost, as QoS 0 allows.
    const isFirst = await this.#options.ledgers.claimOnce?.(key).catch(() => false);
    if (isFirst === true) group.sendUnlogged(publication);
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

  /** The group is not in the store any more. If it has members at this node, it is about to come back or they are gone. */
  #ended({ name }: ShareLedger): void {
    const group = this.#groups.get(shareKey(name));
    if (group?.isAway === true) this.#forget(group);
  }

  #forget(group: ShareGroup): void {
    group.end();
    this.#groups.delete(shareKey(group.ledger.name));
    this.#counts.subtract(group.ledger.name.identity);
    this.#index.remove(group.ledger.name.filter, group);
    this.#options.onRemoved(group);
  }
}

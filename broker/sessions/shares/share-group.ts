import { filterMatches } from "../../../contract/topics.ts";
import {
  hasExpired,
  type LoggedPublication,
  type PublicationLog,
  type PublicationPage,
} from "../../../platform/publication-log.ts";
import type { FilterOptions } from "../../access/filter-options.ts";
import { NodeTurns } from "./node-turns.ts";
import type { MemberGroup, ShareClient } from "./share-client.ts";
import type { Assignment, ShareLedger, Turn } from "./share-ledger.ts";
import { type Choice, cancel, ShareMembers } from "./share-members.ts";
import { chooseForWaiting } from "./waiting-choices.ts";

/** Publications that are assigned in one step. */
const MAX_ASSIGNMENTS = 64;
const RETRY_MS = 1_000;

export interface ShareGroupOptions {
  log: Pick<PublicationLog, "recent" | "read">;
  /** Everything up to this position is in the log. */
  edge(): number;
  /** Whether an acknowledged publication on this topic is reported. */
  wantsReceipt(topic: string): boolean;
  /** Whether a member that is away may receive the publication. */
  mayReceive(member: string, publication: LoggedPublication): boolean;
  /** The most publications that wait for members. */
  maxWaiting: number;
  /** The next publication of the group stays in the log, because no member has room. */
  onBehind(): void;
  /** The group loses this many publications: too many wait. */
  onDropped(count: number): void;
  onFailed(error: unknown): void;
  /** Milliseconds since 1970. */
  now(): number;
}

/** A page of the log from the group's place on. */
interface Pages {
  readonly page: PublicationPage;
  /** The place of the group. */
  from: number;
  /** The index of the next publication. */
  at: number;
}

/**
 * A group of shared subscriptions: one place in the log for all members. Each publication goes to the member with the most
 * room, and to members in turn if they have the same room. A member without room delays nobody.
 *
 * What a member has not acknowledged when its connection ends goes to another one: at QoS 1, which the specification
 * allows, but not at QoS 2 [MQTT-4.8.2-4, MQTT-4.8.2-5].
 */
export class ShareGroup implements MemberGroup {
  readonly ledger: ShareLedger;
  readonly #options: ShareGroupOptions;
  readonly #members: ShareMembers;
  readonly #turns: NodeTurns;
  /** The page of the log that is being assigned. */
  #pages: Pages | undefined;
  #isRunning = false;
  #isWoken = false;
  #isEnded = false;
  /** A group is never offered publications one by one: it reads the log. */
  readonly isLive = false;

  constructor(ledger: ShareLedger, options: ShareGroupOptions) {
    this.ledger = ledger;
    this.#options = options;
    this.#turns = new NodeTurns(ledger, () => this.wake());
    this.#members = new ShareMembers(ledger, (member, publication) => options.mayReceive(member, publication));
    ledger.onWaiting = (lowest) => this.#members.offerFrom(lowest);
  }

  // As SessionBounds sees the group

  get sent(): number {
    return this.ledger.sent;
  }

  get settled(): number {
    return this.ledger.settled;
  }

  get isAway(): boolean {
    return this.#members.size === 0;
  }

  get open(): number {
    return this.ledger.openCount + this.ledger.waiting.length;
  }

  /** The group does not need publications up to and including this position. */
  get floor(): number {
    let floor = this.ledger.sent;
    const [waiting] = this.ledger.waiting;
    if (waiting !== undefined) floor = Math.min(floor, waiting - 1);
    for (const position of this.ledger.held()) floor = Math.min(floor, position - 1);
    return floor;
  }

  /** The positions of what may have to be sent again. */
  *unacknowledged(): Generator<number> {
    yield* this.ledger.waiting;
    yield* this.ledger.held();
  }

  skipTo(position: number): void {
    this.ledger.giveUp(Math.min(position, this.#options.edge()));
  }

  giveUp(position: number): number {
    return this.ledger.drop(0, position);
  }

  /** The log has publications for the group. */
  offer(): void {
    if (this.#members.hasRoom) this.wake();
    else this.#options.onBehind();
  }

  // Members

  /** The client gets publications from now on. */
  add(client: ShareClient, options: FilterOptions): void {
    this.#members.add(client, options);
    client.groups.add(this);
    this.wake();
  }

  /** The client gets no new publications. What it has, it completes [MQTT-3.10.4-3]. */
  remove(client: ShareClient): void {
    client.groups.delete(this);
    this.#members.remove(client);
  }

  /** The client's connection has ended, with these flights. */
  lost(client: ShareClient, flights: readonly Assignment[]): void {
    this.remove(client);
    this.ledger.giveBack(flights.filter(({ qos }) => qos === 1));
    this.wake();
  }

  /** The group has no members any more. */
  end(): void {
    this.#isEnded = true;
    this.#turns.stop();
  }

  /** Whether a member at this node can take a publication now. */
  get hasRoom(): boolean {
    return this.#members.hasRoom;
  }

  /** Resolves when this node may give its members the publication that is not in the log and has this number. */
  ownTurn(number: number): Promise<void> {
    return this.#turns.own(number);
  }

  /** A publication that is not in the log goes to one member, if one can take it now. */
  sendUnlogged(publication: LoggedPublication): void {
    const choice = this.#members.choose(publication);
    if (typeof choice === "object")
      choice.client.connection.send({ publication, qos: 0, messageId: 0, dup: false, options: choice.options });
  }

  // Assigning

  /** There may be a publication and a member for it. */
  wake(): void {
    this.#isWoken = true;
    if (this.#isRunning || this.#isEnded) return;
    this.#isRunning = true;
    // Publications of the same turn of the event loop are assigned together.
    setImmediate(() => void this.#run());
  }

  async #run(): Promise<void> {
    try {
      while (this.#isWoken && !this.#isEnded) {
        this.#isWoken = false;
        while (
          !this.#isEnded &&
          this.#members.hasRoom &&
          ((await this.#assignWaiting()) || (await this.#assignNext()))
        );
      }
    } catch (error) {
      this.#options.onFailed(error);
      setTimeout(() => this.wake(), RETRY_MS).unref();
    }
    this.#isRunning = false;
    if (this.#isWoken) this.wake();
  }

  /** @returns whether a publication that waited was assigned */
  async #assignWaiting(): Promise<boolean> {
    const { ledger } = this;
    const choices = await chooseForWaiting({
      ...{ ledger, members: this.#members, now: this.#options.now, maxChoices: MAX_ASSIGNMENTS },
      read: (after) => this.#read(after),
    });
    if (choices.length === 0) return false;
    const assignments = choices.map(({ assignment }) => assignment);
    const taken = new Set(await this.#settled(choices, () => ledger.takeWaiting(assignments)));
    this.#send(choices.filter(({ assignment }) => taken.has(assignment)));
    for (const choice of choices) if (!taken.has(choice.assignment)) cancel(choice);
    return true;
  }

  /** Assigns what comes next in the log. @returns false at the end of the log, or if no member has room */
  async #assignNext(): Promise<boolean> {
    const { ledger } = this;
    const edge = this.#options.edge();
    const from = ledger.sent;
    if (this.#pages?.from !== from) {
      if (from >= edge) return false;
      this.#pages = { page: await this.#read(from), from, at: 0 };
      // Another node has moved the group meanwhile, or its oldest publications were given up.
      if (ledger.sent !== from) return true;
    }
    const pages = this.#pages;
    const { choices, setAside, upTo } = this.#chooseFrom(pages, edge);
    if (upTo === from) return false;
    if (upTo >= pages.page.next) this.#pages = undefined;
    else pages.from = upTo;
    if (choices.length + setAside.length === 0) {
      ledger.skipTo(upTo);
      return true;
    }
    const assignments = choices.map(({ assignment }) => assignment);
    if (await this.#settled(choices, () => ledger.take({ from, upTo, assignments, setAside }))) this.#send(choices);
    else for (const choice of choices) cancel(choice);
    return true;
  }

  #chooseFrom(pages: Pages, edge: number): Omit<Turn, "from" | "assignments"> & { choices: Choice[] } {
    const { publications, next } = pages.page;
    const choices: Choice[] = [];
    const setAside: number[] = [];
    let upTo = pages.from;
    for (; pages.at < publications.length; pages.at++) {
      const publication = publications[pages.at];
      if (publication === undefined || publication.position > edge) return { choices, setAside, upTo };
      const { position, topic } = publication;
      if (filterMatches(this.ledger.name.filter, topic) && !hasExpired(publication, this.#options.now)) {
        if (!this.#turns.isOwn(position, this.#options.edge())) return { choices, setAside, upTo };
        const verdict = this.#members.choose(publication);
        if (typeof verdict === "object") choices.push(verdict);
        else if (!this.#members.hasRoom) return { choices, setAside, upTo };
        else if (verdict === "later") {
          if (this.ledger.waiting.length + setAside.length < this.#options.maxWaiting) setAside.push(position);
          else this.#options.onDropped(1);
        }
      }
      upTo = position;
      if (choices.length < MAX_ASSIGNMENTS) continue;
      pages.at++;
      return { choices, setAside, upTo };
    }
    return { choices, setAside, upTo: Math.max(upTo, Math.min(next, edge)) };
  }

  /** Frees what was reserved for the choices if the task fails. */
  async #settled<Result>(choices: readonly Choice[], task: () => Promise<Result>): Promise<Result> {
    try {
      return await task();
    } catch (error) {
      for (const choice of choices) cancel(choice);
      throw error;
    }
  }

  #send(choices: readonly Choice[]): void {
    const unsent: Assignment[] = [];
    for (const { client, publication, assignment, options } of choices) {
      const { qos, messageId } = assignment;
      // Nothing was sent, so that another member may get it, at QoS 2 too. The client may have got other publications
      // meanwhile, and may not get more than its receive maximum [MQTT-3.3.4-9].
      if (client.isClosed || (qos > 0 && client.connection.isFull)) {
        client.cancel(messageId);
        unsent.push(assignment);
        continue;
      }
      if (qos > 0) {
        const kept = this.#options.wantsReceipt(publication.topic) ? publication : undefined;
        client.begin({ group: this, assignment, publication: kept });
      }
      client.connection.send({ publication, qos, messageId, dup: false, options });
    }
    if (unsent.length > 0) this.ledger.giveBack(unsent);
  }

  /** Sends again what the member has not acknowledged. @throws {StoreUnavailableError} */
  async resend(client: ShareClient, assignments: readonly Assignment[], options: FilterOptions): Promise<void> {
    for (const assignment of assignments) {
      const { position, qos, messageId } = assignment;
      const page = await this.#read(position - 1);
      if (client.isClosed) return;
      const publication = page.publications.find((one) => one.position === position);
      if (publication !== undefined) client.connection.send({ publication, qos, messageId, dup: true, options });
      else {
        client.end(messageId);
        this.ledger.close(assignment);
      }
    }
  }

  async #read(after: number): Promise<PublicationPage> {
    const { log } = this.#options;
    return log.recent(after) ?? (await log.read(after));
  }
}

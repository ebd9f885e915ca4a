import type { Given, Gone, SharedGroup, ShareStore } from "../../../platform/share-store.ts";
import type { Assignment, Membership, ShareLedger, Turn } from "./share-ledger.ts";
import { type ShareName, shareKey } from "./share-name.ts";
import { firstNew, merged } from "./waiting-positions.ts";

/** Members at different nodes take turns of this many positions, so that one claim takes several publications. */
const RUN = 16;

interface ClaimLedgerOptions {
  store: ShareStore;
  /** Whether this node bounds groups without a connected member. */
  isFirstNode(): boolean;
  /** These members have left, or have connected to another node. */
  onGone(members: readonly string[]): void;
}

/**
 * The ledger of a group that several nodes share. The store decides who gets a publication: each node claims the next
 * publications for its members, and the store refuses a claim if another node was faster.
 */
export class ClaimLedger implements ShareLedger {
  readonly name: ShareName;
  readonly key: string;
  readonly #options: ClaimLedgerOptions;
  readonly members = new Map<string, Membership>();
  /** The members that are connected to this node, and the numbers of their connections. */
  readonly #connections = new Map<string, number>();
  /** What is open for members of this node. */
  readonly #open = new Map<number, Assignment>();
  /** The newest place that the store has told. */
  #stored: number;
  sent: number;
  /** The place at the newest {@link update}. */
  #polled: number;
  #waiting: number[] = [];
  onWaiting: (lowest: number) => void = () => {};
  #held: readonly number[] = [];
  /** The members that are connected to any node, in one order at all nodes. */
  #connected: readonly string[] = [];
  openCount = 0;

  constructor(name: ShareName, sent: number, options: ClaimLedgerOptions) {
    this.name = name;
    this.key = shareKey(name);
    this.#options = options;
    this.#stored = sent;
    this.#polled = sent;
    this.sent = sent;
  }

  get waiting(): readonly number[] {
    return this.#waiting;
  }

  get isElsewhere(): boolean {
    if (this.#connections.size > 0) return false;
    return this.#connected.length > 0 || !this.#options.isFirstNode();
  }

  /** Whether members are connected to this node, or are joining at it. */
  get isBusy(): boolean {
    return this.#connections.size > 0;
  }

  prefers(position: number): boolean {
    const member = this.#connected[Math.floor(position / RUN) % this.#connected.length];
    return member === undefined || this.#connections.has(member);
  }

  *held(): Generator<number> {
    yield* this.#held;
    for (const { position, state } of this.#open.values()) if (state !== "released") yield position;
  }

  get settled(): number {
    return this.#polled;
  }

  /** What the store has now. */
  update({ sent, waiting, held, open, members }: SharedGroup): void {
    this.#moved(sent);
    this.#polled = sent;
    const lowest = firstNew(waiting, this.#waiting);
    this.#waiting = [...waiting];
    if (lowest !== undefined) this.onWaiting(lowest);
    this.#held = held;
    this.openCount = open;
    this.#connected = members.flatMap(({ key, isConnected }) => (isConnected ? key : [])).sort();
    for (const key of [...this.members.keys()])
      if (!this.#connections.has(key) && !members.some((one) => one.key === key)) this.members.delete(key);
    for (const { key, qos, isPersistent } of members) this.members.set(key, { qos, isPersistent });
  }

  /** Tells the store what this node has passed over. */
  flush(): void {
    if (this.sent > this.#stored) this.#options.store.skipTo(this.key, this.sent);
  }

  async join(member: string, membership: Membership, connection: number): Promise<readonly Assignment[]> {
    const { qos, isPersistent } = membership;
    const { identity, share, filter } = this.name;
    const group = { key: this.key, name: JSON.stringify({ identity, share, filter }) };
    this.#connections.set(member, connection);
    const { sent, open } = await this.#options.store.join(group, { key: member, qos, isPersistent, connection });
    // The client may have left or connected again meanwhile.
    if (this.#connections.get(member) !== connection) return [];
    this.members.set(member, membership);
    this.#moved(sent);
    const assignments = open.map(({ isReleased, ...one }): Assignment => {
      return { ...one, member, state: isReleased ? "released" : "sent" };
    });
    for (const assignment of assignments) this.#open.set(assignment.position, assignment);
    return assignments;
  }

  leave(member: string): number {
    this.#options.store.leave(this.key, member, this.#connections.get(member));
    this.#forget(member);
    this.members.delete(member);
    return this.members.size;
  }

  disconnected(member: string): void {
    const connection = this.#connections.get(member);
    if (connection !== undefined) this.#options.store.disconnected(this.key, member, connection);
    this.#forget(member);
  }

  #forget(member: string): void {
    this.#connections.delete(member);
    for (const { position, member: owner } of [...this.#open.values()])
      if (owner === member) this.#open.delete(position);
  }

  async take({ from, upTo, assignments, setAside }: Turn): Promise<boolean> {
    const { store } = this.#options;
    const base = this.#stored;
    const turn = { base, from, upTo, setAside, ...this.#given(assignments) };
    const verdict = await store.take(this.key, turn).catch((error: unknown) => this.#unknown(assignments, error));
    if (verdict !== "taken") {
      if ("sent" in verdict) this.#moved(verdict.sent);
      else this.#gone(verdict);
      return false;
    }
    this.#stored = upTo;
    this.sent = Math.max(this.sent, upTo);
    this.#wait(setAside);
    this.#begin(assignments);
    return true;
  }

  async takeWaiting(assignments: readonly Assignment[]): Promise<readonly Assignment[]> {
    const asked = new Set(assignments.map(({ position }) => position));
    const { store } = this.#options;
    const asking = store.takeWaiting(this.key, this.#given(assignments));
    const verdict = await asking.catch((error: unknown) => {
      this.onWaiting(Math.min(...asked));
      return this.#unknown(assignments, error);
    });
    if ("gone" in verdict) {
      this.onWaiting(Math.min(...asked));
      this.#gone(verdict);
      return [];
    }
    this.#waiting = this.#waiting.filter((position) => !asked.has(position));
    const taken = assignments.filter((_, index) => verdict[index] === true);
    this.#begin(taken);
    return taken;
  }

  close(assignment: Assignment): void {
    if (this.#open.get(assignment.position) === assignment) this.#open.delete(assignment.position);
    this.#options.store.acknowledge(this.key, [assignment]);
  }

  async release(assignment: Assignment): Promise<void> {
    assignment.state = "releasing";
    await this.#options.store.release(this.key, assignment);
    assignment.state = "released";
  }

  giveBack(assignments: readonly Assignment[]): void {
    if (assignments.length === 0) return;
    this.#options.store.giveBack(this.key, assignments);
    const positions = assignments.map(({ position }) => position);
    for (const position of positions) this.#open.delete(position);
    this.#wait(positions);
  }

  #wait(positions: readonly number[]): void {
    if (positions.length === 0) return;
    this.#waiting = merged(this.#waiting, positions);
    this.onWaiting(Math.min(...positions));
  }

  drop(first: number, last: number): number {
    const before = this.#waiting.length;
    this.#waiting = this.#waiting.filter((position) => position < first || position > last);
    this.#options.store.drop(this.key, first, last);
    return before - this.#waiting.length;
  }

  skipTo(position: number): void {
    this.sent = Math.max(this.sent, position);
  }

  giveUp(position: number): void {
    // Another node may have given these publications to members, of which this node hears later.
    this.#options.store.skipTo(this.key, position, this.#stored);
  }

  #moved(sent: number): void {
    this.#stored = Math.max(this.#stored, sent);
    this.sent = Math.max(this.sent, sent);
  }

  #given(publications: readonly Assignment[]): Given {
    const connections = new Map<string, number>();
    for (const { member } of publications) connections.set(member, this.#connections.get(member) ?? 0);
    return { publications, connections };
  }

  #begin(assignments: readonly Assignment[]): void {
    for (const assignment of assignments) if (assignment.qos > 0) this.#open.set(assignment.position, assignment);
  }

  /** The store may have given the publications to members, who do not get them: nothing is sent before the store answers. */
  #unknown(assignments: readonly Assignment[], error: unknown): never {
    this.#options.store.giveBack(this.key, assignments);
    throw error;
  }

  /** Members whose connection the store does not know: this node was taken for dead, or they are at another node. */
  #gone({ gone }: Gone): void {
    this.#options.onGone(gone.filter((member) => this.#connections.has(member)));
  }
}

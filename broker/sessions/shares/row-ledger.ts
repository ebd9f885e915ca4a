import type { Assignment, Membership, ShareLedger, Turn } from "./share-ledger.ts";
import type { ShareName } from "./share-name.ts";
import type { ShareRecord } from "./share-record.ts";
import { merged } from "./waiting-positions.ts";

interface RowLedgerOptions {
  epoch(): string;
  /** The row differs from the stored one. */
  onChange(): void;
  /** Writes the row. Resolves when it is durable. @throws {StoreUnavailableError} */
  store(): Promise<void>;
}

/** The ledger of a group in memory, with one row in the store. For a single node. */
export class RowLedger implements ShareLedger {
  readonly name: ShareName;
  readonly #options: RowLedgerOptions;
  readonly members = new Map<string, Membership>();
  readonly #open = new Map<number, Assignment>();
  #waiting: number[];
  sent: number;
  savedAt = 0;
  onWaiting: (lowest: number) => void = () => {};
  readonly isElsewhere = false;

  /**
   * The record of an earlier run: connections have ended, and so have the sessions that end with them.
   * @param edge the positions of an older copy of the log may be above those of the log
   */
  constructor(record: ShareRecord, edge: number, options: RowLedgerOptions) {
    const { identity, share, filter } = record;
    this.name = { identity, share, filter };
    this.#options = options;
    this.sent = Math.min(record.sent, edge);
    for (const [key, qos, isPersistent] of record.members)
      if (isPersistent === 1) this.members.set(key, { qos, isPersistent: true });
    const waiting = record.waiting.filter((position) => position <= edge);
    for (const [position, qos, released, messageId, member] of record.open) {
      if (qos === 1 && position <= edge) waiting.push(position);
      // A publication of QoS 2 goes to no other client, even if the session has ended [MQTT-4.8.2-5].
      if (qos === 2 && this.members.has(member) && (position <= edge || released === 1))
        this.#open.set(position, { position, member, qos, messageId, state: released === 1 ? "released" : "sent" });
    }
    this.#waiting = merged(waiting, []);
  }

  *held(): Generator<number> {
    for (const { position, state } of this.#open.values()) if (state !== "released") yield position;
  }

  get settled(): number {
    return this.sent;
  }

  get openCount(): number {
    return this.#open.size;
  }

  get waiting(): readonly number[] {
    return this.#waiting;
  }

  record(): ShareRecord {
    const { identity, share, filter } = this.name;
    return {
      ...{ v: 1, identity, share, filter, epoch: this.#options.epoch(), sent: this.sent, waiting: this.#waiting },
      open: [...this.#open.values()].map(({ position, qos, state, messageId, member }) => [
        position,
        qos === 2 ? 2 : 1,
        state === "sent" ? 0 : 1,
        messageId,
        member,
      ]),
      members: [...this.members].map(([key, { qos, isPersistent }]) => [key, qos, isPersistent ? 1 : 0]),
    };
  }

  prefers(): boolean {
    return true;
  }

  async join(member: string, membership: Membership): Promise<readonly Assignment[]> {
    const known = this.members.get(member);
    this.members.set(member, membership);
    if (known?.qos !== membership.qos) await this.#options.store();
    return this.#of(member);
  }

  leave(member: string): number {
    const open = this.#of(member);
    this.giveBack(open.filter(({ qos }) => qos === 1));
    for (const assignment of open) if (assignment.qos === 2) this.close(assignment);
    if (this.members.delete(member)) this.#options.onChange();
    return this.members.size;
  }

  /** The row does not say which members are connected. */
  disconnected(): void {}

  #of(member: string): Assignment[] {
    return [...this.#open.values()].filter((one) => one.member === member);
  }

  async take({ from, upTo, assignments, setAside }: Turn): Promise<boolean> {
    if (from !== this.sent) return false;
    this.sent = upTo;
    this.#wait(setAside);
    await this.#assign(assignments);
    return true;
  }

  async takeWaiting(assignments: readonly Assignment[]): Promise<readonly Assignment[]> {
    const taken = new Set(assignments.map(({ position }) => position));
    this.#waiting = this.#waiting.filter((position) => !taken.has(position));
    await this.#assign(assignments);
    return assignments;
  }

  async #assign(assignments: readonly Assignment[]): Promise<void> {
    for (const assignment of assignments) if (assignment.qos > 0) this.#open.set(assignment.position, assignment);
    this.#options.onChange();
    if (!assignments.some(({ qos }) => qos === 2)) return;
    try {
      await this.#options.store();
    } catch (error) {
      this.giveBack(assignments);
      throw error;
    }
  }

  close({ position, member }: Assignment): void {
    if (this.#open.get(position)?.member !== member) return;
    this.#open.delete(position);
    this.#options.onChange();
  }

  async release(assignment: Assignment): Promise<void> {
    if (this.#open.get(assignment.position) !== assignment) return;
    assignment.state = "releasing";
    this.#options.onChange();
    await this.#options.store();
    // A newer connection may have sent the publication again.
    if (this.#open.get(assignment.position) === assignment) assignment.state = "released";
  }

  giveBack(assignments: readonly Assignment[]): void {
    const returned = assignments.filter((one) => this.#open.get(one.position) === one);
    if (returned.length === 0) return;
    for (const { position } of returned) this.#open.delete(position);
    this.#wait(returned.map(({ position }) => position));
    this.#options.onChange();
  }

  #wait(positions: readonly number[]): void {
    if (positions.length === 0) return;
    this.#waiting = merged(this.#waiting, positions);
    this.onWaiting(Math.min(...positions));
  }

  drop(first: number, last: number): number {
    const before = this.#waiting.length;
    this.#waiting = this.#waiting.filter((position) => position < first || position > last);
    if (this.#waiting.length < before) this.#options.onChange();
    return before - this.#waiting.length;
  }

  skipTo(position: number): void {
    this.sent = Math.max(this.sent, position);
  }

  giveUp(position: number): void {
    this.skipTo(position);
  }
}
